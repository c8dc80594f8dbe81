"""How fast Pulp's notifications are accepted and delivered with few and many listeners, and how fast listeners change.

Accepted is what was answered 200, so what is committed with all its deliveries. What is delivered waits in the database
before the worker starts, as with ``deliver``. Changes of listeners are made by one client, one after the other, beside
the same with views of Flask and SQLAlchemy, which keep nothing but the listeners.
"""

import http.client
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from statistics import median
from unittest import mock

from sqlalchemy import insert, make_url

from benchmarks.load import ID, RUN, Load, Request
from benchmarks.measure import CONNECTIONS, generator
from benchmarks.receiver import Received, receiving
from benchmarks.report import Report, Settings, times
from benchmarks.servers import ROOT, Running, Server, gunicorn, kit, kit_command, process, running
from benchmarks.stores import WITHOUT_POSTGRESQL, Store, stores
from extension_kit.deliveries.tables import subscription_patterns, subscriptions
from extension_kit.runtime.service import Service
from extension_kit.settings.kit import Settings as KitSettings
from extension_kit.store.database import Database
from extension_kit.store.migrate import upgrade
from extensions import pulp
from extensions.pulp.events import event_of
from extensions.pulp.notifiers import stored_target
from extensions.pulp.tables import TABLES

_PATIENCE = 600.0  # seconds
_FOLDER = str(ROOT / "extensions/pulp")
_TOKEN = "benchmark"
_ENVIRONMENT = {
    "EXTENSION_PULP_TOKEN": _TOKEN,
    "EXTENSION_PULP_SECRET": "a secret for benchmarks, which is long enough",
    "EXTENSION_DELIVERY_ALLOW_NETWORKS": "127.0.0.0/8",
    "STEADYBIT_EXTENSION_HEALTH_PORT": "0",
    "STEADYBIT_LOG_LEVEL": "warn",
    "EXTENSION_BIND_ADDRESS": "127.0.0.1",
}
_WANTED, _OTHER = "repo.sync.finish", "repo.publish.start"
_LISTENERS = "/pulp/api/v2/events/"
_MANY = 1000
_FEW_CONNECTIONS = 2
_CHUNK = 10_000

# One repository for each "run" of the load generator, which is 20 notifications.
_BODY = json.dumps(
    {
        "event_type": _WANTED,
        "payload": {"repo_id": str(RUN), "result": "success", "details": "x" * 500},
        "call_report": {"task_id": ID},
    }
)


@dataclass(frozen=True)
class _Crowd:
    """Which listeners there are: so many that want the notifications, and so many that want others only."""

    matching: int
    others: int = 0

    def __str__(self) -> str:
        return f"{self.matching:,} matching" + (f", {self.others:,} others" if self.others else "")

    @property
    def connections(self) -> int:
        """Of the load: where each notification makes thousands of deliveries, many would wait for each other only."""
        return CONNECTIONS if self.matching < _MANY else _FEW_CONNECTIONS


class _PulpServer(Server):
    """The kit with this extension, which is sent notifications."""

    def request(self, port: int, body: str) -> Request:
        return Request(port, self.path, _BODY, self.headers)


def run(settings: Settings) -> list[Report]:
    """Measure all three on each store."""
    with stores() as found:
        reports = [_accepting(settings, found), _delivering(settings, found), _changing(settings, found)]
    notes = [WITHOUT_POSTGRESQL] if len(found) < 2 else []
    return [Report(each.title, each.columns, each.rows, [*each.notes, *notes], each.samples) for each in reports]


def _accepting(settings: Settings, found: list[Store]) -> Report:
    rounds, seconds, warm_up, scale = (1, 1.0, 0.5, 10) if settings.quick else (3, 3.0, 1.0, 1)
    crowds = [_Crowd(0), _Crowd(1), _Crowd(100), _Crowd(10_000 // scale), _Crowd(1, 1_000_000 // scale**2)]
    cases = [(store, crowd) for store in found for crowd in crowds]
    samples: list[list[Load]] = []
    with settings.progress("pulp, accepting", rounds * len(cases)) as begin:
        for store, crowd in cases:
            samples.append([])
            with _database(store, crowd, "http://127.0.0.1:9") as url:
                for number in range(rounds):
                    begin(f"{store.name}, {crowd}, round {number + 1}")
                    samples[-1].append(_accepted(url, crowd, seconds, warm_up))
    rows = []
    for (store, crowd), loads in zip(cases, samples, strict=True):
        first = samples[cases.index((store, crowds[0]))]
        rates = [load.per_second for load in loads]
        rows.append(
            [
                f"{store.name}, {crowd}",
                str(crowd.connections),
                f"{median(rates):,.0f}",
                f"{min(rates):,.0f} - {max(rates):,.0f}",
                f"{median(load.p50_ms for load in loads):.1f}",
                f"{median(load.p99_ms for load in loads):.1f}",
                times(median(rates) / median(load.per_second for load in first)),
                f"{median(rates) * crowd.matching:,.0f}",
            ]
        )
    return Report(
        f"Accepting a notification of 0.6 KB: one process, --no-worker, {rounds} rounds of {seconds:g} s",
        ["listeners", "connections", "req/s", "range", "p50 ms", "p99 ms", "of none", "deliveries/s"],
        rows,
        [],
        [
            {"case": f"{store.name}, {crowd}", **asdict(load)}
            for (store, crowd), loads in zip(cases, samples, strict=True)
            for load in loads
        ],
    )


def _accepted(url: str, crowd: _Crowd, seconds: float, warm_up: float) -> Load:
    server = _PulpServer(
        f"Pulp, {crowd}",
        kit_command("serve", "--no-worker", _FOLDER),
        _ENVIRONMENT | kit("", "kit", workers=1, database_url=url).environment,
        path=f"/pulp/notifications?token={_TOKEN}",
    )
    with (
        running(server) as started,
        generator(started, connections=crowd.connections, warm_up=warm_up, seconds=seconds) as ended,
    ):
        load = ended()
    if load.refused:
        raise RuntimeError(f"{server.name}: {load.refused}")
    return load


@dataclass(frozen=True)
class _Work:
    """What is to be delivered: so many notifications for each matching listener."""

    crowd: _Crowd
    notifications: int
    repositories: int

    @property
    def wanted(self) -> int:
        return self.crowd.matching * self.notifications


def _delivering(settings: Settings, found: list[Store]) -> Report:
    rounds, scale = (1, 10) if settings.quick else (3, 1)
    works = [
        _Work(_Crowd(1), 3000 // scale, 100),
        _Work(_Crowd(1), 1000 // scale, 1),
        _Work(_Crowd(100), 30 // scale, 3),
        _Work(_Crowd(10_000 // scale), 1, 1),
        _Work(_Crowd(1, 1_000_000 // scale**2), 3000 // scale, 100),
    ]
    cases = [(store, work) for store in found for work in works]
    samples: list[list[Received]] = []
    with settings.progress("pulp, delivering", sum(_rounds(work, rounds) for _, work in cases)) as begin:
        for store, work in cases:
            samples.append([])
            for number in range(_rounds(work, rounds)):
                begin(f"{store.name}, {work.crowd}, round {number + 1}")
                samples[-1].append(_delivered(store, work))
    rows = [
        [
            f"{store.name}, {work.crowd}",
            f"{work.notifications:,} of {work.repositories:,}",
            f"{median(each.per_second for each in received):,.0f}",
            f"{min(each.per_second for each in received):,.0f} - {max(each.per_second for each in received):,.0f}",
            str(sum(each.overtaken for each in received)),
            str(sum(each.again for each in received)),
        ]
        for (store, work), received in zip(cases, samples, strict=True)
    ]
    return Report(
        f"Delivering notifications to http notifiers: one worker with 16 threads, {rounds} rounds, one with others",
        ["listeners", "events of repositories", "notifications/s", "range", "out of order", "twice"],
        rows,
        ["out of order: notifications of a repository that came to a listener after a later one"],
        [
            {"case": f"{store.name}, {work.crowd}, {work.repositories}", **asdict(each)}
            for (store, work), received in zip(cases, samples, strict=True)
            for each in received
        ],
    )


def _rounds(work: _Work, rounds: int) -> int:
    """Return 1 where there are many listeners: each round makes a database, which takes a minute for a million."""
    return 1 if work.crowd.others else rounds


def _delivered(store: Store, work: _Work) -> Received:
    with (
        receiving(work.wanted, "benchmarks.notified") as receiver,
        _database(store, work.crowd, f"http://127.0.0.1:{receiver.port}", work) as url,
        process(kit_command("worker", _FOLDER), {**_ENVIRONMENT, "EXTENSION_DATABASE_URL": url}),
    ):
        receiver.wait_for_first(_PATIENCE)
        return receiver.wait_for_all(_PATIENCE)


@contextmanager
def _database(store: Store, crowd: _Crowd, receiver: str, work: _Work | None = None) -> Iterator[str]:
    """A database with listeners at a receiver, and with notifications that wait for their delivery."""
    with store.database() as url:
        database = Database(url)
        upgrade(database, [TABLES])
        _add_listeners(database, crowd, receiver)
        database.dispose()
        if work:
            _publish(url, work)
        yield url


def _publish(url: str, work: _Work) -> None:
    with mock.patch.dict("os.environ", _ENVIRONMENT):
        service = Service.of([pulp.extension], KitSettings(database_url=url)).open()
    assert service.runtime
    try:
        with service.runtime.kit.transaction() as transaction:
            for number in range(work.notifications):
                payload = {"repo_id": f"repo{number % work.repositories}", "number": number}
                transaction.publish(event_of({"event_type": _WANTED, "payload": payload, "call_report": None}))
    finally:
        service.runtime.close(5)


def _add_listeners(database: Database, crowd: _Crowd, receiver: str) -> None:
    """Add the subscriptions of listeners; in bulk, because they are many."""
    now = datetime.now(UTC)
    for start in range(0, crowd.matching + crowd.others, _CHUNK):
        rows, patterns = [], []
        for number in range(start, min(start + _CHUNK, crowd.matching + crowd.others)):
            group = f"{number:024x}"
            rows.append(
                {
                    "ref": number + 1,
                    "protocol": "pulp",
                    "name": f"{group}/0",
                    "group": group,
                    "scope": "",
                    "sender": "http",
                    "target": stored_target("http", {"url": f"{receiver}/{number}"}, "", None),
                    "enabled": True,
                    "created_at": now,
                }
            )
            pattern = _WANTED if number < crowd.matching else _OTHER
            patterns.append({"subscription_ref": number + 1, "pattern": pattern, "subject": None, "scope": ""})
        with database.transaction() as connection:
            connection.execute(insert(subscriptions), rows)
            connection.execute(insert(subscription_patterns), patterns)


def _changing(settings: Settings, found: list[Store]) -> Report:
    rounds, cycles = (1, 50) if settings.quick else (5, 300)
    samples: dict[str, list[float]] = {}
    ratios: dict[str, list[float]] = {}
    with settings.progress("pulp, changing", rounds * len(found)) as begin:
        for store in found:
            with (
                _database(store, _Crowd(0), "") as url,
                running(_plain(url)) as plain,
                running(_listeners(url)) as ours,
            ):
                for number in range(rounds):
                    begin(f"{store.name}, round {number + 1}")
                    rates = [_cycled(started, cycles) for started in (plain, ours)]
                    for name, rate in zip(("Flask and SQLAlchemy", "Pulp"), rates, strict=True):
                        samples.setdefault(f"{store.name}, {name}", []).append(rate)
                    ratios.setdefault(f"{store.name}, Pulp", []).append(rates[1] / rates[0])
    return Report(
        f"Creating, reading, changing and removing a listener: one client, one process, {rounds} interleaved rounds of "
        f"{4 * cycles:,} requests",
        ["server", "req/s", "range", "of Flask's"],
        [
            [
                name,
                f"{median(rates):,.0f}",
                f"{min(rates):,.0f} - {max(rates):,.0f}",
                times(median(ratios[name])) if name in ratios else "",
            ]
            for name, rates in samples.items()
        ],
        [],
        [{"case": name, "per_second": rate} for name, rates in samples.items() for rate in rates],
    )


def _plain(url: str) -> Server:
    there = make_url(url)
    if there.get_backend_name() == "postgresql":
        there = there.set(drivername="postgresql+psycopg")
    else:
        there = there.set(database=f"{there.database}-plain")
    server = gunicorn("Flask and SQLAlchemy", "benchmarks.apps.flask_listeners:app", workers=1, threads=16)
    server.environment["LISTENERS_URL"] = there.render_as_string(hide_password=False)
    return server


def _listeners(url: str) -> Server:
    environment = _ENVIRONMENT | kit("", "kit", workers=1, database_url=url).environment
    return Server("Pulp", kit_command("serve", "--no-worker", _FOLDER), environment, path=_LISTENERS)


def _cycled(started: Running, cycles: int) -> float:
    """Let listeners come and go, over one connection, and return the requests a second."""
    connection = http.client.HTTPConnection("127.0.0.1", started.port, timeout=30)

    def ask(method: str, path: str, body: object, status: int) -> bytes:
        headers = {"Content-Type": "application/json"}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = connection.getresponse()
        content = response.read()
        if response.status != status:
            raise RuntimeError(f"{started.server.name} answers {response.status} to {method}: {content[:500]!r}")
        return content

    config = {"url": "http://localhost/api"}
    new = {"notifier_type_id": "http", "notifier_config": config, "event_types": [_WANTED]}
    began = time.perf_counter()
    try:
        for number in range(cycles):
            path = f"{_LISTENERS}{json.loads(ask('POST', _LISTENERS, new, 201))['id']}/"
            ask("GET", path, None, 200)
            ask("PUT", path, {"notifier_config": {"url": f"http://localhost/{number}"}}, 200)
            ask("DELETE", path, None, 200)
    finally:
        connection.close()
    return 4 * cycles / (time.perf_counter() - began)
