"""How fast an event is accepted by a durable listener: committed before the answer, against answering at once.

The method is that of ``receive``; beyond it, every try has a database of its own, and what PostgreSQL's processes use
counts as the server's. A minute of load shows, beside that, whether the worker files as fast as events are accepted.
"""

import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from statistics import median

from benchmarks import apps
from benchmarks.environment import peers_python
from benchmarks.measure import CONNECTIONS, Sample, generator, sample
from benchmarks.report import Report, Settings, times
from benchmarks.servers import Running, Server, go_server, gunicorn, kit, running
from benchmarks.stores import WITHOUT_POSTGRESQL, Store, fsyncs_per_second, scratch_directory, stores

_PATIENCE = 600.0  # seconds, of which a quiet machine needs two thirds
_GOALS = {("SQLite", False): 0.55, ("SQLite", True): 0.25, ("PostgreSQL", False): 0.6, ("PostgreSQL", True): 0.1}
"""Of Go's requests, by the store and with or without the worker."""
_GOAL_FLASK = 12.0  # on SQLite without the worker, as is the next
_GOAL_P99 = 6.0  # milliseconds
_SUSTAINED = 60.0  # seconds


@dataclass(frozen=True)
class _Case:
    """A server; durable ones have a store, which a database is made in for every try."""

    server: Server
    workers: int
    store: Store | None = None
    delivers: bool = False

    @property
    def goals(self) -> str:
        if self.store is None:
            return ""
        goal = f">= {_GOALS[self.store.name, self.delivers]:g} x"
        is_strictest = self.store.name == "SQLite" and not self.delivers
        return f"{goal}, >= {_GOAL_FLASK:g} x, <= {_GOAL_P99:g} ms" if is_strictest else goal

    def sample(self, seconds: float, warm_up: float, patient_until: float) -> Sample:
        with ExitStack() as stack:
            environment = self.server.environment
            if self.store:
                environment |= {"EXTENSION_DATABASE_URL": stack.enter_context(self.store.database())}
            else:
                environment |= {"EVENTS": f"{stack.enter_context(scratch_directory())}/events.db"}
            observe = _group_size if self.store else lambda _: {}
            return sample(replace(self.server, environment=environment), seconds, warm_up, patient_until, observe)


def run(settings: Settings) -> list[Report]:
    """Measure all servers, interleaved: with one process, as ``extension-kit serve`` has it, and with two."""
    rounds, seconds, warm_up = (1, 1.0, 0.5) if settings.quick else (5, 3.0, 1.0)
    with settings.progress("durable", 1) as begin:
        begin("installing the peers")
        python = peers_python()
    patient_until = time.monotonic() + (0 if settings.quick else _PATIENCE)
    with stores() as found:
        cases = [case for workers in (1, 2) for case in _cases(workers, found, python)]
        samples: list[list[Sample]] = []
        fsyncs: list[float] = []
        with settings.progress("durable", rounds * len(cases)) as begin:
            for number in range(rounds):
                samples.append([])
                for case in cases:
                    begin(f"round {number + 1}, {case.server.name}, {case.workers}")
                    samples[-1].append(case.sample(seconds, warm_up, patient_until))
                fsyncs.append(fsyncs_per_second(0.2 if settings.quick else 1.0))
        with settings.progress("durable, sustained", len(found)) as begin:
            minutes = []
            for store in found:
                begin(store.name)
                minutes.append(_sustain(store, 3.0 if settings.quick else _SUSTAINED))
    notes = [
        f"this disk: {median(fsyncs):,.0f} times a second 4 KB more of a file, each followed by fsync "
        f"({min(fsyncs):,.0f} - {max(fsyncs):,.0f} in the rounds)",
        *([WITHOUT_POSTGRESQL] if len(found) < 2 else []),
    ]
    return [
        *(_report(cases, samples, seconds, workers, notes) for workers in (1, 2)),
        Report(
            "The same with the worker, one process, under load all the time",
            ["store", "seconds", "req/s", "p99 ms", "not filed after half of it", "at the end"],
            minutes,
        ),
    ]


def _sustain(store: Store, seconds: float) -> list[str]:
    server = kit("durable", "kit_durable", workers=1)
    with store.database() as url:
        server = replace(server, environment=server.environment | {"EXTENSION_DATABASE_URL": url})
        with (
            running(server) as started,
            generator(started, connections=CONNECTIONS, warm_up=1.0, seconds=seconds) as ended,
        ):
            time.sleep(seconds / 2)
            half = started.metrics()["extension_events_unfiled"]
            load = ended()
            left = started.metrics()["extension_events_unfiled"]
    return [
        store.name,
        f"{seconds:g}",
        f"{load.per_second:,.0f}",
        f"{load.p99_ms:.1f}",
        f"{half:,.0f}",
        f"{left:,.0f}",
    ]


def _cases(workers: int, found: list[Store], python: str) -> list[_Case]:
    go = go_server(python, "Go net/http, immediate", processors=workers)
    return [
        _Case(kit("immediate", "kit", workers=workers), workers),
        *([_Case(go, workers)] if go else []),
        *(
            _Case(
                kit(
                    f"durable, {store.name}, {'with the worker' if deliver else '--no-worker'}",
                    "kit_durable",
                    workers=workers,
                    deliver=deliver,
                    helpers=store.server_processes(),
                ),
                workers,
                store,
                deliver,
            )
            for store in found
            for deliver in (False, True)
        ),
        _Case(
            gunicorn("Flask + marshmallow, a commit each", f"{apps.__name__}.flask_commit:app", workers=workers),
            workers,
        ),
    ]


def _group_size(started: Running) -> dict[str, float]:
    """How many events were committed together, on the average."""
    found = started.metrics()
    return {"group": found["extension_commit_events_sum"] / found["extension_commit_events_count"]}


def _report(cases: list[_Case], rounds: list[list[Sample]], seconds: float, workers: int, notes: list[str]) -> Report:
    places = [place for place, case in enumerate(cases) if case.workers == workers]
    immediate, flask = places[0], places[-1]
    go = next((place for place in places if cases[place].server.name.startswith("Go")), None)
    rows = []
    every: list[tuple[int, Sample]] = []
    for place in places:
        samples = [each[place] for each in rounds]
        every.extend((number, each) for number, each in enumerate(samples))
        rates = [each.load.per_second for each in samples]
        store = cases[place].store
        rows.append(
            [
                cases[place].server.name,
                f"{median(rates):,.0f}",
                f"{min(rates) / 1000:.1f} - {max(rates) / 1000:.1f}",
                f"{median(each.server_cpu_us for each in samples):.0f}"
                + (f" ({median(each.helpers_cpu_us for each in samples):.0f})" if store and store.server else ""),
                f"{median(each.load.p50_ms for each in samples):.2f}",
                f"{median(each.load.p99_ms for each in samples):.1f}",
                f"{median(each.observed['group'] for each in samples):.1f}" if store else "",
                _ratio(rounds, place, immediate) if place != immediate else "",
                _ratio(rounds, place, go) if go is not None and go != place else "",
                _ratio(rounds, place, flask) if place != flask else "",
                cases[place].goals,
            ]
        )
    return Report(
        f"Accepting an event of 0.8 KB for a durable listener: {workers} process{'es' * (workers > 1)}, "
        f"{CONNECTIONS} connections kept alive, {len(rounds)} interleaved rounds of {seconds:g} s",
        [
            "extension-kit serve",
            "req/s",
            "range, k/s",
            "CPU us/req (PostgreSQL's)",
            "p50 ms",
            "p99 ms",
            "events a commit",
            "of immediate",
            "of Go",
            "of Flask",
            "goals: of Go, of Flask, p99",
        ],
        rows,
        [
            *notes,
            "SQLite waits for the disk with each commit (synchronous=FULL), Flask's too; each connection plays one "
            "experiment run after the other",
            f"rounds in doubt (others used the machine, or connections were spread unevenly): "
            f"{sum(each.doubt > 0 for _, each in every)} of {len(every)}",
        ],
        [{"round": number, "workers": workers, **each.as_dict()} for number, each in every],
    )


def _ratio(rounds: list[list[Sample]], one: int, other: int) -> str:
    return times(median(each[one].load.per_second / each[other].load.per_second for each in rounds))
