"""How fast eventhos's events are accepted beside the kit's own durable listener, rendered, and found in a large log."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from statistics import median
from typing import Any

import psycopg
from sqlalchemy import Table, case, func, insert, literal, select

from benchmarks import processes
from benchmarks.load import ID, RUN, Load, Request
from benchmarks.measure import CONNECTIONS, generator
from benchmarks.report import Report, Settings, microseconds, times
from benchmarks.servers import ROOT, Server, kit, kit_command, running
from benchmarks.stores import WITHOUT_POSTGRESQL, Store, stores
from benchmarks.timing import Case, interleaved
from extension_kit.deliveries.sender_pool import Senders
from extension_kit.protocol import Cipher, subscriptions
from extension_kit.settings.kit import Settings as KitSettings
from extension_kit.store.database import Database
from extension_kit.store.migrate import upgrade
from extensions.eventhos.encryption import Encryption
from extensions.eventhos.event_log import EventLog
from extensions.eventhos.log_filter import Filter
from extensions.eventhos.paging import Paging
from extensions.eventhos.request_templates import RequestTemplate
from extensions.eventhos.settings import EventhosSettings
from extensions.eventhos.tables import (
    ERROR,
    PROCESSED,
    TABLES,
    actions,
    clients,
    contracts,
    events,
    executions,
    keys,
    received,
    systems,
)

_CRYPTO_KEY = "a key for benchmarks that is long enough"
_ENVIRONMENT = {
    "EXTENSION_EVENTHOS_JWT_SECRET": "a secret for benchmarks, which is long enough",
    "EXTENSION_EVENTHOS_CRYPTO_KEY": _CRYPTO_KEY,
}
_KEY = "benchmark"
_IDENTIFIER = "benchmark-event"
_GOAL = 0.7
_GOAL_RENDERED = 50.0  # microseconds
_GOAL_PAGES = 2.0
_PAGE_SIZE = 10
_CHUNK = 10_000
_BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
_REQUEST = b"x" * 500
_BODY = {
    "run": str(RUN),
    "id": ID,
    "customer": {"name": "Ada", "items": [{"sku": n, "text": "x" * 60} for n in range(10)]},
}


class _EventhosServer(Server):
    """The kit with this extension, which is sent events."""

    def request(self, port: int, body: str) -> Request:
        return Request(port, self.path, json.dumps(_BODY), self.headers)


def run(settings: Settings) -> list[Report]:
    """Measure all three."""
    with stores() as found:
        reports = [_measure_accepting(settings, found), _rendering(settings), _paging(settings, found)]
    notes = [WITHOUT_POSTGRESQL] if len(found) < 2 else []
    return [Report(each.title, each.columns, each.rows, [*each.notes, *notes], each.samples) for each in reports]


def _measure_accepting(settings: Settings, found: list[Store]) -> Report:
    rounds, seconds, warm_up = (1, 1.0, 0.5) if settings.quick else (3, 3.0, 1.0)
    cases = [(store, case) for store in found for case in _CASES]
    samples: dict[tuple[str, _Accepting], list[_Accepted]] = {}
    with settings.progress("eventhos, accepting", rounds * len(cases)) as begin:
        for number in range(rounds):
            for store, case in cases:
                begin(f"round {number + 1}, {store.name}, {case.name}")
                samples.setdefault((store.name, case), []).append(_accepted(store, case, seconds, warm_up))
    rows = []
    for (store_name, case), found_here in samples.items():
        pairs = list(zip(found_here, samples[store_name, _Accepting(app=case.app)], strict=True))
        by_rate = median(one.load.per_second / other.load.per_second for one, other in pairs)
        by_cpu = median(other.cpu_us / one.cpu_us for one, other in pairs)
        rates = [each.load.per_second for each in found_here]
        rows.append(
            [
                f"{store_name}, {case.name}",
                f"{median(rates):,.0f}",
                f"{min(rates):,.0f} - {max(rates):,.0f}",
                f"{median(each.load.p99_ms for each in found_here):.1f}",
                f"{median(each.cpu_us for each in found_here):.0f}"
                f" ({median(each.database_cpu_us for each in found_here):.0f})",
                times(by_rate),
                times(by_cpu),
                f">= {_GOAL:g} x" if case.contracts else "",
            ]
        )
    return Report(
        f"Accepting an event of 1 KB: one process, --no-worker, {CONNECTIONS} connections, {rounds} interleaved rounds",
        ["", "req/s", "range", "p99 ms", "CPU us/req (PostgreSQL's)", "of durable", "by CPU", "goal"],
        rows,
        ["an event with 100 contracts has 100 deliveries, as one that 100 functions hear, which is 1.00 x for it"],
        [
            {"store": name, "case": case.name, **asdict(each)}
            for (name, case), found_here in samples.items()
            for each in found_here
        ],
    )


@dataclass(frozen=True)
class _Accepting:
    """Contracts, or durable functions where there are none, of which ``app`` has as many."""

    app: str
    contracts: int | None = None

    @property
    def name(self) -> str:
        if self.contracts is None:
            return {"kit_durable": "1 durable function", "kit_durable_100": "100 durable functions"}[self.app]
        return "1 contract" if self.contracts == 1 else f"{self.contracts} contracts"


_CASES = [
    *(_Accepting("kit_durable", contracts) for contracts in (None, 0, 1)),
    *(_Accepting("kit_durable_100", contracts) for contracts in (None, 100)),
]


@dataclass(frozen=True)
class _Accepted:
    """A round of one case, with the CPU time for each request.

    ``database_cpu_us`` is what PostgreSQL's processes used of ``cpu_us``.
    """

    load: Load
    cpu_us: float
    database_cpu_us: float


def _accepted(store: Store, case: _Accepting, seconds: float, warm_up: float) -> _Accepted:
    with store.database() as url:
        server = kit(case.name, case.app, workers=1, deliver=False, database_url=url)
        if case.contracts is not None:
            _fill(url, case.contracts)
            server = _EventhosServer(
                case.name,
                kit_command("serve", "--no-worker", str(ROOT / "extensions/eventhos")),
                server.environment | _ENVIRONMENT,
                path=f"/event/send?event-identifier={_IDENTIFIER}",
                headers={"access-key": _KEY},
            )
        with (
            running(server) as started,
            generator(started, connections=CONNECTIONS, warm_up=warm_up, seconds=seconds) as ended,
        ):
            pids, backends = processes.tree(started.pid), _backends(url) if store.server else []
            before = [sum(processes.cpu_seconds(each).values()) for each in (pids, backends)]
            load = ended()
            after = [sum(processes.cpu_seconds(each).values()) for each in (pids, backends)]
    if load.refused:
        raise RuntimeError(f"{server.name}: {load.refused}")
    own, of_database = ((end - begin) / max(1, load.requests) * 1e6 for begin, end in zip(before, after, strict=True))
    return _Accepted(load, own + of_database, of_database)


def _backends(url: str) -> list[int]:
    """Return the processes of PostgreSQL that work for this database."""
    others = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    with psycopg.connect(url) as connection:
        return [pid for (pid,) in connection.execute(others)]


def _fill(url: str, count: int) -> None:
    """Make a producer with an event and so many contracts, which are never run."""
    database = Database(url)
    upgrade(database, [TABLES])
    now = datetime.now(UTC)
    moments = {"created_at": now, "updated_at": now}
    encryption = Encryption(Cipher([_CRYPTO_KEY.encode()], "eventhos"))
    with database.transaction() as connection:

        def add(table: Table, **row: Any) -> int:
            return int(connection.execute(insert(table).values(row).returning(table.c.id)).scalar_one())

        client = add(clients, identifier="b", client_id="b::usil.app", secret=b"", permissions=[], **moments)
        add(keys, client=client, hash=sha256(_KEY.encode()).hexdigest(), created_at=now)
        system = add(systems, **{"class": "hybrid"}, identifier="b", name="b", client=client, **moments)
        event = add(events, system=system, identifier=_IDENTIFIER, name="b", **moments)
        action = add(actions, system=system, identifier="b", name="b", request=encryption.encrypt({}), **moments)
        senders = Senders(KitSettings())
        for number in range(count):
            name = f"contract-{number}"
            ref = subscriptions.add(
                connection, senders, protocol="eventhos", name=name, sender="protocol", target={}
            ).ref
            add(contracts, event=event, action=action, identifier=name, name=name, subscription=ref, **moments)
    database.dispose()


def _rendering(settings: Settings) -> Report:
    template = RequestTemplate(
        "POST",
        "https://erp.example.com/customers/${.body.customer.name}",
        {"X-Run": "${.body.run}"},
        {"id": "${.body.id}"},
        {
            "name": "${.body.customer.name}",
            "text": "Run ${.body.run} of ${.body.customer.name}",
            "first": "${.body.customer.items[0]}",
            "items": ["${.body.customer.items[1].sku}", "${.body.customer.items[2].sku}"],
            "all": "${.body.customer}",
        },
    )
    values = {
        "headers": {"x-trace": "1"},
        "query": {"event-identifier": _IDENTIFIER},
        "body": _BODY,
        "url": "/event/send",
    }
    rounds = 3 if settings.quick else 15
    found = interleaved([Case("render", lambda: template.render(values))], rounds)["render"]
    return Report(
        f"Rendering a request of a body of 1 KB: nine placeholders, {rounds} rounds",
        ["", "us", "range", "goal"],
        [
            [
                "template",
                microseconds(median(found)),
                f"{microseconds(min(found))} - {microseconds(max(found))}",
                f"<= {_GOAL_RENDERED:g} us",
            ]
        ],
        [],
        [{"case": "render", "us": each} for each in found],
    )


def _paging(settings: Settings, found: list[Store]) -> Report:
    rounds, number = (2, 20_000) if settings.quick else (7, 1_000_000)
    deep = number // _PAGE_SIZE // 10
    cases = {
        "all": Filter(),
        "the later half": Filter(since=_BEGAN + timedelta(milliseconds=number // 2)),
        "no time": Filter(since=_BEGAN + timedelta(days=1)),
        "a system with three events": Filter(system=2),
        "an event": Filter(identifier=_IDENTIFIER),
        "processed": Filter(state="processed"),
        "error": Filter(state="error"),
        "retried": Filter(state="retried"),
        "processed, a system": Filter(state="processed", system=2),
        "error, the later half": Filter(state="error", since=_BEGAN + timedelta(milliseconds=number // 2)),
    }
    rows, samples = [], []
    log = EventLog(Encryption(Cipher([_CRYPTO_KEY.encode()], "eventhos")), EventhosSettings())
    with settings.progress("eventhos, log", len(found) * len(cases)) as begin:
        for store in found:
            begin(f"{store.name}, {number:,} events are made")
            with _log(store, number) as database:
                for name, wanted in cases.items():
                    begin(f"{store.name}, {name}")
                    total, taken = _pages(log, database, wanted, deep, rounds)
                    first, *others = taken
                    ratios = [median(x / y for x, y in zip(other, first, strict=True)) for other in others]
                    goal = f"<= {_GOAL_PAGES:g} x"
                    shown = [f"{median(first) * 1e3:.1f}", *map(times, ratios), goal]
                    rows.append([f"{store.name}, {name}", f"{total:,}", *shown])
                    samples.append({"case": f"{store.name}, {name}", "s": taken})
    return Report(
        f"Pages of the log: {number:,} events, {_PAGE_SIZE} a page, newest first, {rounds} interleaved rounds",
        ["", "events", "page 1, ms", f"page {deep:,}", "middle page", "last page", "goal"],
        rows,
        [f"Page {deep:,}, or the last one if there are fewer, the middle and the last one as times of page 1."],
        samples,
    )


def _pages(log: EventLog, database: Database, wanted: Filter, deep: int, rounds: int) -> tuple[int, list[list[float]]]:
    """Return how many events match, and the seconds of the first, a deep, the middle and the last page."""
    total, _ = _page(log, database, wanted, 0)
    last = max(total - 1, 0) // _PAGE_SIZE
    taken: list[list[float]] = [[], [], [], []]
    for _ in range(rounds):
        for seconds, index in zip(taken, (0, min(deep - 1, last), last // 2, last), strict=True):
            seconds.append(_page(log, database, wanted, index)[1])
    return total, taken


def _page(log: EventLog, database: Database, wanted: Filter, index: int) -> tuple[int, float]:
    paging = Paging(index, _PAGE_SIZE, received.c.id, received.c.id, descending=True)
    with database.read() as connection:
        began = time.perf_counter()
        page = log.page(connection, wanted, paging)
        taken = time.perf_counter() - began
    total: int = page["totalItems"]
    if len(page["items"]) != min(_PAGE_SIZE, total - index * _PAGE_SIZE):
        raise RuntimeError(f"page {index} has {len(page['items'])} items")
    return total, taken


@contextmanager
def _log(store: Store, number: int) -> Iterator[Database]:
    """Make a log of four events of two systems, each with a contract, of which some failed."""
    with store.database() as url:
        _fill(url, 1)
        database = Database(url)
        moments = {"created_at": _BEGAN, "updated_at": _BEGAN}
        with database.transaction() as connection:
            connection.execute(insert(systems).values(**{"class": "hybrid"}, identifier="c", name="c", **moments))
            for each in range(2, 5):
                name = {"identifier": f"event-{each}", "name": "c", **moments}
                connection.execute(insert(events).values(system=2, **name))
                connection.execute(insert(contracts).values(event=each, action=1, **name))
        part = func.mod(received.c.id, 200)  # of 200 one was aborted, two were retried, and eight failed
        state = case((part < 11, ERROR), (part < 198, PROCESSED))
        ran = {"received": received.c.id, "contract": received.c.event, "order": literal(0), "state": state}
        ran |= {"aborted": part == 0, "retried": part.in_([1, 2]), "attempts": literal(1)}
        for start in range(0, number, _CHUNK):
            rows = [
                {"event": each % 4 + 1, "request": _REQUEST, "received_at": _BEGAN + timedelta(milliseconds=each)}
                for each in range(start, start + _CHUNK)
            ]
            with database.transaction() as connection:
                connection.execute(insert(received), rows)
                new = select(*ran.values()).where(received.c.id > start)
                connection.execute(insert(executions).from_select(list(ran), new))
        if not database.is_sqlite:
            with psycopg.connect(url, autocommit=True) as plain:
                plain.execute("VACUUM ANALYZE eventhos_received, eventhos_executions")  # as autovacuum does, later
        yield database
        database.dispose()
