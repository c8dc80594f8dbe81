"""How many deliveries workers make a second, against workers of task queues that do the same.

The work, an HTTP POST of the event to a receiver on this machine, waits in the queue before the worker starts. Measured
is from when the receiver has got the first until it has got all.
"""

import json
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit
from uuid import uuid4

from benchmarks import processes
from benchmarks.apps.webhook import work
from benchmarks.environment import peers_python
from benchmarks.receiver import Received, receiving
from benchmarks.report import Report, Settings, times
from benchmarks.servers import ROOT, ServerError, app_file, kit_command, printed, process
from benchmarks.stores import WITHOUT_POSTGRESQL, Store, entry, scratch_directory, stores
from extension_kit.deliveries.outbox import Outbox
from extension_kit.loading import load_extensions
from extension_kit.store.database import Database

_THREADS = 16
_PATIENCE = 120.0  # seconds for everything to be delivered
_GROUP = 256
_WORKERS, _SLOW = 4, 0.05  # workers, and seconds of their work
_REDIS = "redis://127.0.0.1:6379/15"

_Worker = tuple[list[str], dict[str, str]]
"""A command, and variables for it."""


@dataclass(frozen=True)
class _Case:
    """A worker; ``filled`` gives how to start it with so many deliveries of so many keys waiting for it."""

    name: str
    keys: int | None  # one, or as many as deliveries
    threads: int
    filled: Callable[[int, int, int], AbstractContextManager[_Worker]]
    goal: str = ""
    workers: int = 1
    seconds: float = 0.0  # that the work takes beside the request


@dataclass(frozen=True)
class _Sample:
    received: Received
    worker_us: float  # CPU time of its processes for each delivery
    all_us: float  # and that of all processes on this machine, but for the receiver's


def run(settings: Settings) -> list[Report]:
    """Measure all workers, interleaved."""
    rounds, many, line, slow = (1, 300, 100, 300) if settings.quick else (5, 3000, 1000, 6000)
    with settings.progress("deliver", 1) as begin:
        begin("installing the peers")
        python = peers_python()
    with stores() as found:
        cases = [case for keys in (None, 1) for case in _cases(found, python, keys)]
        cases += [case for store in found if store.server for case in _several(store)]
        samples: list[list[_Sample]] = []
        with settings.progress("deliver", rounds * len(cases)) as begin:
            for number in range(rounds):
                samples.append([])
                for case in cases:
                    begin(f"round {number + 1}, {case.name}, {'many keys' if case.keys is None else 'one key'}")
                    if not settings.quick:
                        processes.wait_for_quiet(30.0)
                    samples[-1].append(_sample(case, slow if case.seconds else many if case.keys is None else line))
    notes = [WITHOUT_POSTGRESQL] if len(found) < 2 else []
    reports = [
        _report(cases, samples, None, f"{many} deliveries, each with a key of its own", notes),
        _report(cases, samples, 1, f"{line} deliveries with one key, to be made in order", notes),
    ]
    return reports + ([_report_of_several(cases, samples, slow)] if len(found) > 1 else [])


def _cases(found: list[Store], python: str, keys: int | None) -> list[_Case]:
    # The peers keep an order only where they do one thing after the other.
    threads = _THREADS if keys is None else 1
    transport, broker = _broker()
    return [
        *(
            _Case(f"extension-kit worker, {store.name}", keys, _THREADS, partial(_kit, store), _goal(store, keys))
            for store in found
        ),
        _Case(f"celery, {transport}", keys, threads, partial(_celery, python, broker, threads)),
        _Case("huey, SQLite", keys, threads, partial(_huey, python, threads)),
    ]


def _goal(store: Store, keys: int | None) -> str:
    if store.server:
        return ">= 1.3 x celery" if keys is None else ">= 2 x celery"
    return ">= 1.3 x, 1.2 x" if keys is None else ">= 2 x, 1.5 x"


def _several(store: Store) -> list[_Case]:
    """Return one and four workers, with work that takes most of its time waiting."""
    return [
        _Case(f"extension-kit worker, {store.name}", None, _THREADS, partial(_kit, store), "", workers, _SLOW)
        for workers in (1, _WORKERS)
    ]


def _broker() -> tuple[str, str]:
    if url := os.environ.get("TEST_AMQP_URL"):
        return "RabbitMQ", url
    with socket.socket() as probe:
        parts = urlsplit(_REDIS)
        if probe.connect_ex((parts.hostname, parts.port)) == 0:
            return "Redis", _REDIS
    return "its filesystem transport", "filesystem://"


@contextmanager
def _kit(store: Store, number: int, keys: int, port: int) -> Iterator[_Worker]:
    app = app_file("kit_webhook")
    (listener,) = load_extensions([app])[0].registry.listeners
    with store.database() as url:
        database = Database(url)
        outbox = Outbox(database)
        entries = [entry(name, body, name.split("/")[0], listener.key) for name, body in work(number, keys)]
        for place in range(0, number, _GROUP):
            outbox.record(entries[place : place + _GROUP])
        database.dispose()
        yield (
            kit_command("worker", app),
            {
                "RECEIVER_PORT": str(port),
                "EXTENSION_DATABASE_URL": url,
                "EXTENSION_WORKER_THREADS": str(_THREADS),
                "STEADYBIT_EXTENSION_HEALTH_PORT": "0",
                "EXTENSION_BIND_ADDRESS": "127.0.0.1",
                "STEADYBIT_LOG_LEVEL": "warn",
            },
        )


@contextmanager
def _celery(python: str, broker: str, threads: int, number: int, keys: int, port: int) -> Iterator[_Worker]:
    module = "benchmarks.apps.celery_webhook"
    with scratch_directory() as directory:
        environment = {"RECEIVER_PORT": str(port), "BROKER": broker, "QUEUE": f"benchmark-{uuid4()}"}
        if broker.startswith("filesystem"):
            folders = {name: str(directory / name) for name in ("data_folder", "control_folder")}
            for folder in folders.values():
                Path(folder).mkdir()
            data, control = folders.values()
            options = {"data_folder_in": data, "data_folder_out": data, "control_folder": control}
            environment["BROKER_OPTIONS"] = json.dumps(options)
        _run([python, "-m", module, str(number), str(keys)], environment)
        try:
            pool = ["--pool", "threads", "--concurrency", str(threads)]
            quiet = ["--loglevel", "ERROR", "--without-gossip", "--without-mingle", "--without-heartbeat"]
            yield [python, "-m", "celery", "-A", module, "worker", *pool, *quiet], environment
        finally:
            _run([python, "-m", module], environment)


@contextmanager
def _huey(python: str, threads: int, number: int, keys: int, port: int) -> Iterator[_Worker]:
    module = "benchmarks.apps.huey_webhook"
    with scratch_directory() as directory:
        environment = {"RECEIVER_PORT": str(port), "TASKS": f"{directory}/tasks.db"}
        _run([python, "-m", module, str(number), str(keys)], environment)
        consumer = ["-m", "huey.bin.huey_consumer", f"{module}.huey", "--workers", str(threads), "--quiet"]
        yield [python, *consumer], environment


def _run(command: list[str], environment: dict[str, str]) -> None:
    subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        check=True,
        stdout=subprocess.DEVNULL,
        timeout=_PATIENCE,
    )


def _sample(case: _Case, number: int) -> _Sample:
    with ExitStack() as stack:
        receiver = stack.enter_context(receiving(number))
        command, environment = stack.enter_context(case.filled(number, case.keys or number, receiver.port))
        environment["WORK_SECONDS"] = str(case.seconds)
        workers = [stack.enter_context(process(command, environment)) for _ in range(case.workers)]
        try:
            receiver.wait_for_first(_PATIENCE)
            before = processes.everybody()
            received = receiver.wait_for_all(_PATIENCE)
            used = {pid: after - before.get(pid, 0.0) for pid, after in processes.everybody().items()}
        except ServerError as error:
            said = "; ".join(printed(output) for _, output in workers)
            raise ServerError(f"{case.name}: {error}; it printed: {said}") from None
        own = sum(used.get(pid, 0.0) for worker, _ in workers for pid in processes.tree(worker.pid))
        everybody = sum(seconds for pid, seconds in used.items() if pid not in (receiver.process.pid, os.getpid()))
    return _Sample(received, own / number * 1e6, everybody / number * 1e6)


def _report(cases: list[_Case], rounds: list[list[_Sample]], keys: int | None, title: str, notes: list[str]) -> Report:
    places = [place for place, case in enumerate(cases) if case.keys == keys and not case.seconds]
    celery, huey = places[-2:]
    rows = []
    every: list[tuple[int, int, _Sample]] = []
    for place in places:
        samples = [each[place] for each in rounds]
        every.extend((number, place, each) for number, each in enumerate(samples))
        rates = [each.received.per_second for each in samples]
        is_kit = place not in (celery, huey)
        rows.append(
            [
                cases[place].name,
                str(cases[place].threads),
                f"{median(rates):,.0f}",
                f"{min(rates):,.0f} - {max(rates):,.0f}",
                f"{median(each.worker_us for each in samples):,.0f}",
                f"{median(each.all_us for each in samples):,.0f}",
                str(sum(each.received.overtaken for each in samples)),
                str(sum(each.received.again for each in samples)),
                _ratio(rounds, place, celery) if is_kit else "",
                _ratio(rounds, place, huey) if is_kit else "",
                cases[place].goal,
            ]
        )
    return Report(
        f"Delivering to a webhook: {title}, {len(rounds)} interleaved rounds",
        [
            "worker, one process",
            "threads",
            "a second",
            "range",
            "CPU us, worker",
            "CPU us, all",
            "out of order",
            "twice",
            "of celery",
            "of huey",
            "goal",
        ],
        rows,
        [
            "CPU us, all: every process on this machine but the receiver, so with databases and brokers",
            "the kit writes down the claim and the end of each attempt, and loses none; celery acknowledges a task "
            "when it has been done, huey before, so that it loses what it was doing when it is killed",
            "goal: of celery, of huey",
            *notes,
        ],
        [{"round": number, "case": cases[place].name, **asdict(each)} for number, place, each in every],
    )


def _report_of_several(cases: list[_Case], rounds: list[list[_Sample]], number: int) -> Report:
    one, several = (place for place, case in enumerate(cases) if case.seconds)
    speeds = {place: [each[place].received.later_per_second for each in rounds] for place in (one, several)}
    ratio = times(median(of_several / of_one for of_one, of_several in zip(*speeds.values(), strict=True)))
    rows = [
        [
            str(cases[place].workers),
            f"{median(speeds[place]):,.0f}",
            f"{median(each[place].all_us for each in rounds):,.0f}",
            "" if place == one else ratio,
            "" if place == one else ">= 3.5 x",
        ]
        for place in (one, several)
    ]
    return Report(
        f"{number} deliveries with work of {_SLOW * 1000:g} ms, by several workers, {len(rounds)} interleaved rounds",
        [f"workers, {_THREADS} threads each", "a second", "CPU us, all", "of one", "goal"],
        rows,
        ["each delivery has a key of its own; all wait before the workers start; a second: of the second half"],
        [
            {"round": number, "workers": cases[place].workers, **asdict(each[place])}
            for number, each in enumerate(rounds)
            for place in (one, several)
        ],
    )


def _ratio(rounds: list[list[_Sample]], one: int, other: int) -> str:
    return times(median(each[one].received.per_second / each[other].received.per_second for each in rounds))
