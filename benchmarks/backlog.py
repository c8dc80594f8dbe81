"""What accepting an event and making a delivery cost when few, or very many, events are stored and deliveries wait.

Everything but the database is in this process: the outbox that accepts events, and a worker whose attempts do nothing.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count, islice
from statistics import median, quantiles
from uuid import uuid4

import psycopg

from benchmarks import events
from benchmarks.report import Report, Settings, microseconds, times
from benchmarks.servers import ServerError
from benchmarks.stores import WITHOUT_POSTGRESQL, Store, entry, stores
from extension_kit.deliveries import shards
from extension_kit.deliveries.entries import Entry
from extension_kit.deliveries.handler import Due, Handler
from extension_kit.deliveries.hung_runs import HungRuns
from extension_kit.deliveries.outbox import Outbox
from extension_kit.deliveries.retry import RetrySchedule
from extension_kit.deliveries.tables import DELIVERED
from extension_kit.engine.claiming import Claiming
from extension_kit.engine.pools import Pools
from extension_kit.engine.postgresql_queue import PostgresqlQueue
from extension_kit.engine.queue import Queue
from extension_kit.engine.shares import Shares
from extension_kit.engine.sqlite_queue import SqliteQueue
from extension_kit.engine.windows import Held
from extension_kit.engine.worker import DeliveryWorker
from extension_kit.senders import Outcome
from extension_kit.store.database import Database

_LISTENER = "benchmark.receive@/events"

_FEW = 10
_GROUP = 16  # events of a commit, as in the benchmark ``durable``
_AT_ONCE = 2000  # events of a commit, when a database is filled
_THREADS = 16
_PATIENCE = 60.0  # seconds for the deliveries of a round
_CLAIMS = 20  # transactions of a round that claim
_NOTHING_HELD = Held({}, (), {}, has_suspect=False, large_bodies={})

_body = events.encoded(events.small())
_numbers = count()


def _entries(number: int) -> list[Entry]:
    """Events with ids of their own; every other one belongs to one series, the others to one each."""
    names = [f"series-{each}" if each % 2 else "one series" for each in islice(_numbers, number)]
    return [entry(str(uuid4()), _body, name, _LISTENER) for name in names]


@dataclass
class _Filled:
    """A database with so many events, of which so many deliveries wait: every other one for those before it."""

    store: Store
    stored: int
    waiting: int
    url: str
    accept_us: list[float] = field(default_factory=list)
    delivery_us: list[float] = field(default_factory=list)
    claim_ms: list[float] = field(default_factory=list)
    in_vain_ms: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._database = Database(self.url)
        self._outbox = Outbox(self._database)
        self._queue: Queue = SqliteQueue() if self._database.is_sqlite else PostgresqlQueue()

    def fill(self, stored: Callable[[int], None]) -> None:
        """Add the events; ``stored`` is told how many there are."""
        ended = self.stored - self.waiting
        self._add(range(ended), stored)
        with self._database.transaction() as connection:
            if self.store.server:
                connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
            connection.exec_driver_sql(
                f"UPDATE deliveries SET status = '{DELIVERED}', stage = NULL, ended_at = created_at"
            )
        self._add(range(ended, self.stored), stored)
        if self.store.server and self.stored > _FEW:  # as it does by itself when so much has changed
            with psycopg.connect(self.url, autocommit=True) as connection:
                connection.execute("VACUUM (ANALYZE)")

    def _add(self, places: range, stored: Callable[[int], None]) -> None:
        for place in places[::_AT_ONCE]:
            end = min(place + _AT_ONCE, places.stop)
            self._outbox.record(_entries(end - place))
            stored(end)

    def measure(self, number: int) -> None:
        """Accept so many events, and make as many deliveries; claim some, and look in vain for others."""
        for _ in range(_CLAIMS):
            self.claim_ms.append(self._claim(range(shards.NUMBER)))
            if self.store.server:  # SQLite has one shard
                self.in_vain_ms.append(self._claim([shards.NUMBER]))
        groups = [_entries(_GROUP) for _ in range(number // _GROUP)]
        began = time.perf_counter()
        for group in groups:
            self._outbox.record(group)
        self.accept_us.append((time.perf_counter() - began) / number * 1e6)
        done: list[float] = []
        enough = threading.Event()

        def make(due: Due) -> Outcome:
            done.append(time.perf_counter())
            if len(done) >= number:
                enough.set()
            return Outcome("delivered")

        with _working(self.url, make):
            if not enough.wait(_PATIENCE):
                raise ServerError(f"{self.store.name}: {len(done)} of {number} deliveries made in {_PATIENCE:g} s")
        self.delivery_us.append((done[number - 1] - done[0]) / (number - 1) * 1e6)

    def _claim(self, numbers: Sequence[int]) -> float:
        """Claim for free threads, and give the claims up. Return the milliseconds of it."""
        claiming = Claiming(self._queue, Pools(Shares(_THREADS)), lambda *_: _handler(_nothing), lambda names: {})
        began = time.perf_counter()
        with self._database.transaction() as connection, connection.begin_nested() as claimed:
            claiming.claim(connection, numbers, _NOTHING_HELD, datetime.now(UTC))
            claimed.rollback()
        return (time.perf_counter() - began) * 1000

    def close(self) -> None:
        self._database.dispose()


def _handler(make: Callable[[Due], Outcome]) -> Handler:
    return Handler(make, RetrySchedule(), 60.0)


def _nothing(due: Due) -> Outcome:
    return Outcome("delivered")


@contextmanager
def _working(url: str, make: Callable[[Due], Outcome]) -> Iterator[None]:
    handler = _handler(make)
    worker = DeliveryWorker(
        Database(url, flush=False),
        lambda listener, connection: handler,
        HungRuns(_THREADS, lambda: None),
        threads=_THREADS,
        stalled_after=30,
        grace_period=10,
        name=f"benchmark-{uuid4()}",
    )
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        yield
    finally:
        worker.stop()
        thread.join()


def run(settings: Settings) -> list[Report]:
    """Fill databases, and measure them in turn."""
    rounds, number = (2, 64) if settings.quick else (9, 640)
    sizes = [(_FEW, _FEW), (5_000, 1_000)] if settings.quick else [(_FEW, _FEW), (1_000_000, 1_000_000)]
    with ExitStack() as stack:
        found = stack.enter_context(stores())
        filled = []
        for store in found:
            for stored, waiting in sizes:
                url = stack.enter_context(store.database())
                filled.append(_Filled(store, stored, waiting, url))
                stack.callback(filled[-1].close)
        for each in filled:
            with settings.progress(f"backlog: filling {each.store.name}", each.stored // _AT_ONCE + 2) as begin:
                begin("")
                each.fill(lambda number, begin=begin: begin(f"{number:,} events"))  # type: ignore[misc]
        with settings.progress("backlog", rounds * len(filled)) as begin:
            for number_of_round in range(rounds):
                for each in filled:
                    begin(f"round {number_of_round + 1}, {each.store.name}, {each.stored:,}")
                    each.measure(number)
    return [_report(filled, rounds, number, [WITHOUT_POSTGRESQL] if len(found) < 2 else [])]


def _report(filled: list[_Filled], rounds: int, number: int, notes: list[str]) -> Report:
    rows = []
    for each in filled:
        few = next(other for other in filled if other.store == each.store and other.stored == _FEW)
        rows.append(
            [
                each.store.name,
                f"{each.stored:,}",
                f"{each.waiting:,}",
                microseconds(median(each.accept_us)),
                _ratio(each.accept_us, few.accept_us) if each is not few else "",
                microseconds(median(each.delivery_us)),
                _ratio(each.delivery_us, few.delivery_us) if each is not few else "",
                _milliseconds(each.claim_ms),
                _milliseconds(each.in_vain_ms) if each.in_vain_ms else "",
            ]
        )
    return Report(
        f"Accepting an event, and making a delivery, beside many others: {rounds} interleaved rounds of {number} each",
        [
            "",
            "events stored",
            "deliveries waiting",
            "us to accept",
            "of few",
            "us for a delivery",
            "of few",
            "ms to claim, p50 / p99",
            "in vain",
        ],
        rows,
        [
            f"to accept: {_GROUP} events a commit, each with a body of 0.8 KB, for one listener",
            f"a delivery: claimed, an attempt that does nothing, and ended, by a worker with {_THREADS} threads",
            f"to claim: one transaction, for {_THREADS} free threads; in vain: in shards without a delivery",
            "of the waiting deliveries every other one waits for those before it; goal: flat, so ratios near 1",
            *notes,
        ],
        [
            {
                "store": each.store.name,
                "stored": each.stored,
                "waiting": each.waiting,
                "accept_us": each.accept_us,
                "delivery_us": each.delivery_us,
                "claim_ms": each.claim_ms,
                "in_vain_ms": each.in_vain_ms,
            }
            for each in filled
        ],
    )


def _milliseconds(samples: list[float]) -> str:
    return f"{median(samples):.1f} / {quantiles(samples, n=100)[-1]:.1f}"


def _ratio(one: list[float], other: list[float]) -> str:
    return times(median(slow / fast for slow, fast in zip(one, other, strict=True)))
