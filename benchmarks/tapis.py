"""How fast Tapis's events are accepted and its notifications delivered, with few, many and very many subscriptions.

Accepted is what was answered 200, so what is committed with its place in its series and all its deliveries. What is
delivered waits in the database before the worker starts, as with ``deliver``.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from statistics import median
from typing import Any
from unittest import mock

import jwt
from sqlalchemy import insert

from benchmarks.load import ID, RUN, Load, Request
from benchmarks.measure import CONNECTIONS, generator
from benchmarks.receiver import Received, receiving
from benchmarks.report import Report, Settings, times
from benchmarks.servers import ROOT, Server, kit, kit_command, process, running
from benchmarks.stores import WITHOUT_POSTGRESQL, Store, stores
from extension_kit.deliveries.tables import subscription_patterns
from extension_kit.deliveries.tables import subscriptions as kit_subscriptions
from extension_kit.protocol import Kit
from extension_kit.runtime.service import Service
from extension_kit.settings.kit import Settings as KitSettings
from extension_kit.store.database import Database
from extension_kit.store.migrate import upgrade
from extensions import tapis
from extensions.tapis import events, subscriptions
from extensions.tapis.delivery_targets import Targets
from extensions.tapis.settings import TapisSettings
from extensions.tapis.tables import TABLES
from extensions.tapis.tokens import Caller

_PATIENCE = 600.0  # seconds
_SECRET = "a secret for benchmarks, which is long enough"
_FOLDER = str(ROOT / "extensions/tapis")
_ENVIRONMENT = {
    "EXTENSION_TAPIS_JWT_SECRET": _SECRET,
    "EXTENSION_DELIVERY_ALLOW_NETWORKS": "127.0.0.0/8",
    "STEADYBIT_EXTENSION_HEALTH_PORT": "0",
    "STEADYBIT_LOG_LEVEL": "warn",
    "EXTENSION_BIND_ADDRESS": "127.0.0.1",
}
_BENCH = Caller("bench", "admin", "anna", "dev", is_service=True)
_TYPE = "bench.new_status.done"
_FIRST_OTHER = 1_000_000  # the refs before are those of the subscriptions that match
_CHUNK = 10_000

# One series for each "run" of the load generator, which is 20 events.
_BODY = {"source": "benchmark", "type": _TYPE, "timestamp": "now", "subject": str(RUN), "seriesId": str(RUN)}


@dataclass(frozen=True)
class _Crowd:
    """Which subscriptions there are: so many that want every event, and so many that want other subjects' only."""

    matching: int
    others: int = 0

    def __str__(self) -> str:
        return f"{self.matching:,} matching" + (f", {self.others:,} others" if self.others else "")


@dataclass(frozen=True)
class _World:
    """A database with a crowd."""

    store: Store
    crowd: _Crowd
    url: str
    kit: Kit
    settings: TapisSettings

    @property
    def name(self) -> str:
        return f"{self.store.name}, {self.crowd}"


class _TapisServer(Server):
    """The kit with this extension, which is sent an event of its own."""

    def request(self, port: int, body: str) -> Request:
        return Request(port, self.path, json.dumps({**_BODY, "data": ID + "x" * 500}), self.headers)


def run(settings: Settings) -> list[Report]:
    """Measure both, interleaved."""
    with stores() as found:
        reports = [_accepting(settings, found), _delivering(settings, found)]
    return [
        Report(each.title, each.columns, each.rows, [*each.notes, *_missing(found)], each.samples) for each in reports
    ]


def _missing(found: list[Store]) -> list[str]:
    return [WITHOUT_POSTGRESQL] if len(found) < 2 else []


def _accepting(settings: Settings, found: list[Store]) -> Report:
    rounds, seconds, warm_up = (1, 1.0, 0.5) if settings.quick else (3, 3.0, 1.0)
    crowds = [_Crowd(0), _Crowd(1), _Crowd(100), _Crowd(1, 10_000 if settings.quick else 1_000_000)]
    cases = [(store, crowd) for store in found for crowd in crowds]
    samples: list[list[Load]] = []
    with settings.progress("tapis, accepting", rounds * len(cases)) as begin:
        for store, crowd in cases:
            samples.append([])
            with _world(store, crowd, "http://127.0.0.1:9/") as world:
                for number in range(rounds):
                    begin(f"{world.name}, round {number + 1}")
                    samples[-1].append(_accepted(world, seconds, warm_up))
    rows = []
    for (store, crowd), loads in zip(cases, samples, strict=True):
        first = samples[cases.index((store, crowds[0]))]
        rows.append(
            [
                f"{store.name}, {crowd}",
                f"{median(load.per_second for load in loads):,.0f}",
                f"{min(load.per_second for load in loads):,.0f} - {max(load.per_second for load in loads):,.0f}",
                f"{median(load.p50_ms for load in loads):.1f}",
                f"{median(load.p99_ms for load in loads):.1f}",
                times(median(load.per_second for load in loads) / median(load.per_second for load in first)),
            ]
        )
    return Report(
        f"Publishing an event of 0.7 KB in a series: one process, --no-worker, {CONNECTIONS} connections kept alive, "
        f"{rounds} rounds of {seconds:g} s",
        ["subscriptions", "events/s", "range", "p50 ms", "p99 ms", "of none"],
        rows,
        [],
        [
            {"case": f"{store.name}, {crowd}", **asdict(load)}
            for (store, crowd), loads in zip(cases, samples, strict=True)
            for load in loads
        ],
    )


def _accepted(world: _World, seconds: float, warm_up: float) -> Load:
    base = kit("", "kit", workers=1, deliver=False, database_url=world.url)
    claims = {"tenant_id": "admin", "username": "bench", "account_type": "service", "target_site": "tacc"}
    named = {f"tapis/{name}": value for name, value in {**claims, "token_type": "access"}.items()}
    token = jwt.encode({**named, "exp": int(time.time()) + 86400}, _SECRET, "HS256")
    server = _TapisServer(
        world.name,
        kit_command("serve", "--no-worker", _FOLDER),
        {**_ENVIRONMENT, **base.environment},
        path="/v3/notifications/events/publish",
        headers={"X-Tapis-Token": token, "X-Tapis-Tenant": _BENCH.tenant, "X-Tapis-User": _BENCH.user},
    )
    with (
        running(server) as started,
        generator(started, connections=CONNECTIONS, warm_up=warm_up, seconds=seconds) as ended,
    ):
        load = ended()
    if load.refused:
        raise RuntimeError(f"{world.name}: {load.refused}")
    return load


@dataclass(frozen=True)
class _Work:
    """What is to be delivered: so many events for each matching subscription."""

    crowd: _Crowd
    events: int
    ordered: bool = False

    @property
    def wanted(self) -> int:
        return self.crowd.matching * self.events


def _delivering(settings: Settings, found: list[Store]) -> Report:
    rounds, scale = (1, 10) if settings.quick else (3, 1)
    works = [
        _Work(_Crowd(1), 3000 // scale),
        _Work(_Crowd(1), 1000 // scale, ordered=True),
        _Work(_Crowd(100), 30 // scale),
        _Work(_Crowd(10_000 // scale), 1),
        _Work(_Crowd(1, 1_000_000 // scale**2), 3000 // scale),
    ]
    cases = [(store, work) for store in found for work in works]
    samples: list[list[Received]] = []
    with settings.progress("tapis, delivering", rounds * len(cases)) as begin:
        for store, work in cases:
            samples.append([])
            for number in range(rounds):
                begin(f"{store.name}, {work.crowd}, round {number + 1}")
                samples[-1].append(_delivered(store, work))
    rows = [
        [
            f"{store.name}, {work.crowd}",
            f"{work.events:,} in {'one series' if work.ordered else 'no series'}",
            f"{median(each.per_second for each in received):,.0f}",
            f"{min(each.per_second for each in received):,.0f} - {max(each.per_second for each in received):,.0f}",
            str(sum(each.overtaken for each in received)) if work.ordered else "",
            str(sum(each.again for each in received)),
        ]
        for (store, work), received in zip(cases, samples, strict=True)
    ]
    return Report(
        f"Delivering notifications to a webhook: one worker with 16 threads, {rounds} rounds",
        ["subscriptions", "events", "notifications/s", "range", "out of order", "twice"],
        rows,
        ["out of order: notifications of a series that came after a later one"],
        [
            {"case": f"{store.name}, {work.crowd}, {work.ordered}", **asdict(each)}
            for (store, work), received in zip(cases, samples, strict=True)
            for each in received
        ],
    )


def _delivered(store: Store, work: _Work) -> Received:
    with (
        receiving(work.wanted, "benchmarks.notified") as receiver,
        _world(store, work.crowd, f"http://127.0.0.1:{receiver.port}/") as world,
    ):
        _publish(world, work)
        command = kit_command("worker", _FOLDER)
        with process(command, {**_ENVIRONMENT, "EXTENSION_DATABASE_URL": world.url}):
            receiver.wait_for_first(_PATIENCE)
            return receiver.wait_for_all(_PATIENCE)


def _publish(world: _World, work: _Work) -> None:
    with world.kit.transaction() as transaction:
        for number in range(work.events):
            event: dict[str, Any] = {
                "source": "benchmark",
                "type": _TYPE,
                "timestamp": "now",
                "subject": "a",
                "data": str(number),
                "series_id": "a" if work.ordered else None,
                "end_series": False,
                "delete_subscriptions_matching_subject": False,
            }
            events.publish(transaction, world.kit, world.settings, event, tenant=_BENCH.tenant, user=_BENCH.user)


@contextmanager
def _world(store: Store, crowd: _Crowd, hook: str) -> Iterator[_World]:
    """A database with a crowd whose notifications go to a webhook."""
    with store.database() as url:
        database = Database(url)
        upgrade(database, [TABLES])
        database.dispose()
        with mock.patch.dict("os.environ", _ENVIRONMENT):
            service = Service.of([tapis.extension], KitSettings(database_url=url)).open()
        assert service.runtime
        kit, own = service.runtime.kit, service.protocols[0].settings
        try:
            _subscribe(kit, own, crowd, hook)
            yield _World(store, crowd, url, kit, own)
        finally:
            service.runtime.close(5)


def _subscribe(kit: Kit, settings: TapisSettings, crowd: _Crowd, hook: str) -> None:
    target = {"delivery_method": "WEBHOOK", "delivery_address": hook}
    wanted = {"name": None, "description": None, "owner": "anna", "enabled": True, "ttl_minutes": 0}
    with kit.transaction() as transaction:
        connection = transaction.connection
        for number in range(crowd.matching):
            subscriptions.create(
                Targets(connection, kit, settings),
                connection,
                _BENCH,
                {
                    **wanted,
                    "name": f"matching{number}",
                    "type_filter": "bench.*.*",
                    "subject_filter": "*",
                    "delivery_targets": [target],
                },
            )
    for start in range(0, crowd.others, _CHUNK):
        _add_others(kit, range(start, min(start + _CHUNK, crowd.others)), hook)


def _add_others(kit: Kit, numbers: range, hook: str) -> None:
    """Add subscriptions that want other subjects, or other tenants' events; in bulk, because they are many."""
    rows, patterns = [], []
    now = datetime.now(UTC)
    for number in numbers:
        wanted = {
            "subject": f"other{number}" if number % 2 else None,
            "scope": _BENCH.tenant if number % 2 else f"tenant{number % 1000}",
        }
        ref = _FIRST_OTHER + number
        name = f"other{number}"
        rows.append(
            {
                "ref": ref,
                "protocol": "tapis",
                "name": f"{name}/{name}/0",
                "group": f"{name}/{name}",
                "sender": "http",
                "target": {"url": hook},
                "enabled": True,
                "created_at": now,
                **wanted,
            }
        )
        patterns.append({"subscription_ref": ref, "pattern": "bench.*.*", **wanted})
    with kit.transaction() as transaction:
        transaction.connection.execute(insert(kit_subscriptions), rows)
        transaction.connection.execute(insert(subscription_patterns), patterns)
