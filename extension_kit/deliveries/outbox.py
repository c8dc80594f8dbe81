"""Outbox: commits events with their deliveries and jobs in one transaction."""

import random
import sqlite3
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple

import psycopg
from sqlalchemy import Connection, func, insert, select, tuple_
from sqlalchemy.exc import SQLAlchemyError

from extension_kit.deliveries import attempt_rows as records
from extension_kit.deliveries.contracts import Defer, Job
from extension_kit.deliveries.step_memory import remember_step
from extension_kit.deliveries.tables import WAITING, bounded, deliveries, events
from extension_kit.events.event import Event
from extension_kit.events.registry import Listener
from extension_kit.store.bulk_insert import Bulk
from extension_kit.store.database import Database
from extension_kit.store.errors import refused


class Entry(NamedTuple):
    """One event, and the keys of its listeners.

    ``step`` is the execution id of the step that the event starts. ``scope`` is its tenant: subscriptions with another
    scope do not get it.
    """

    source: str
    event_id: str
    name: str
    subject: str | None
    time: datetime | None
    body: bytes
    series: str | None
    listeners: tuple[str, ...]
    step: str | None = None
    scope: str | None = None

    @classmethod
    def of(
        cls, event: Event, listeners: Iterable[Listener], *, step: str | None = None, scope: str | None = None
    ) -> "Entry":
        """Make the entry of an event for its listeners."""
        keys = tuple(listener.key for listener in listeners)
        head = (event.source, event.id, event.name, event.subject, event.time)
        return cls(*head, event.body, event.series, keys, step, scope)


Match = Callable[[Connection, Sequence[Entry]], Sequence[Sequence[str]]]
"""Finds further listeners of events beside those in their entries: a list of listener keys for each entry.

It is called once for a group, within the transaction that records it, with the entries of new events, each once. So a
subscription made after an event was recorded does not get it when it is sent again.
"""


class Recorded(NamedTuple):
    """Result for an entry: True for a new event, the place in its series from 1, the number of added deliveries."""

    is_new: bool
    place: int | None
    deliveries: int


class _Key(NamedTuple):
    """Identity of an event."""

    source: str
    event_id: str


class _Stored(NamedTuple):
    """An event in the table, and its place in its series, from 1; None without a series."""

    ref: int
    place: int | None


class Outbox:
    """Writes entries to the database.

    Transactions lock rows in the same order, so that they cannot deadlock: events by source and id, then known events
    by number, then series by key.

    Args:
        database: takes the entries.
        engine: takes the jobs.
        match: finds further listeners of an event.
    """

    def __init__(self, database: Database, engine: Defer, match: Match | None = None) -> None:
        self._database = database
        self._engine = engine
        self._match = match
        self._events = Bulk("events", _EVENT, _IF_NEW_EVENT, is_sqlite=database.is_sqlite, order=_Key._fields)
        self._series = Bulk("series", _SERIES, _OR_COUNT, is_sqlite=database.is_sqlite)
        self._deliveries = Bulk("deliveries", _DELIVERY, _IF_NEW_DELIVERY, is_sqlite=database.is_sqlite)

    def record(self, entries: Sequence[Entry]) -> int:
        """Commit entries in one transaction.

        An event with a known source and id is not stored again, and gets no second delivery to the same listener; so
        an entry may be recorded any number of times, by any process.

        Returns:
            The number of added deliveries.

        Raises:
            StoreError: the database cannot be used; nothing was committed.
        """
        if not entries:
            return 0
        with self._understood(), self._database.transaction() as connection:
            return sum(recorded.deliveries for recorded in self.write(connection, entries))

    def write(self, connection: Connection, entries: Sequence[Entry]) -> list[Recorded]:
        """Write entries, at least one, within the transaction of a connection, as ``record`` does.

        Returns:
            The result for each entry. Deliveries are counted with the first entry of their event.
        """
        self._database.check_room(connection, sum(len(entry.body) for entry in entries))
        now = datetime.now(UTC)
        keyed = [(_Key(bounded(entry.source), bounded(entry.event_id)), entry) for entry in entries]
        first: dict[_Key, Entry] = {}
        for key, entry in keyed:
            first.setdefault(key, entry)
        refs = self._store_events(connection, first, now)
        new = {key: entry for key, entry in first.items() if key in refs}
        for entry in new.values():
            if entry.step and entry.series:
                remember_step(connection, entry.series, entry.step, entry.body, now)
        counts = self._count_series(connection, new, now)
        stored = {key: _Stored(ref, counts.get(key)) for key, ref in refs.items()}
        if len(new) < len(first):
            stored |= _find_known(connection, first.keys() - new.keys())
        others = self._match_others(connection, new)
        wanted = [
            (stored[key], entry.series, listener)
            for key, entry in keyed
            for listener in (*entry.listeners, *others.get(key, ()))
        ]
        added, jobs = self._store_deliveries(connection, wanted, now)
        if jobs:
            self._engine.defer(connection, jobs)
        return [Recorded(key in new, stored[key].place, added.pop(stored[key].ref, 0)) for key, _ in keyed]

    @property
    def database_name(self) -> str:
        """Name of the database in messages."""
        return self._database.name

    def check_writable(self, *, attempts: bool = False) -> None:
        """Check that entries can be recorded: write all rows that an event needs, and roll them back.

        A commit that changes nothing follows: it waits for the disk as every commit does.

        Args:
            attempts: check that attempts of deliveries can be recorded, too.

        Raises:
            StoreError: entries cannot be recorded.
        """
        with self._understood(), self._database.transaction() as connection:
            self._database.rewrite_version(connection)
            self._database.check_room(connection, ahead=True)
            with connection.begin_nested() as written:
                self._try(connection, attempts=attempts)
                written.rollback()

    def _try(self, connection: Connection, *, attempts: bool) -> None:
        """Write an event with everything it may have.

        Its refs are random and negative, so that no refs of real rows are used up, and two processes doing this at the
        same time do not wait for each other.
        """
        ref, now = -1 - random.getrandbits(62), datetime.now(UTC)
        name = f"try{ref}"
        entry = Entry("extension-kit", name, name, None, None, b"{}", name, (name,))
        event = {"source": entry.source, "event_id": name, "name": name, "received_at": now, "body": entry.body}
        connection.execute(insert(events).values(ref=ref, **event))
        remember_step(connection, name, name, entry.body, now)
        self._series.add(connection, [(name, 1, self._moment(now))])
        if self._match is not None:
            self._match(connection, [entry])
        delivery = {"event_ref": ref, "listener": name, "lock": name, "series": name, "created_at": now, "due_at": now}
        connection.execute(insert(deliveries).values(ref=ref, **delivery))
        self._engine.defer(connection, [Job(ref, name, None, name)])
        if attempts:
            records.begin(connection, ref, 1, now)

    @contextmanager
    def _understood(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, sqlite3.Error, psycopg.Error) as error:
            raise refused(error, self._database.name) from error

    def _store_events(self, connection: Connection, entries: Mapping[_Key, Entry], now: datetime) -> dict[_Key, int]:
        """Store new events, numbered in the order of their arrival, and return their refs."""
        received = self._moment(now)
        rows = [
            (
                *key,
                bounded(entry.name),
                bounded(entry.subject) if entry.subject else None,
                self._moment(entry.time) if entry.time else None,
                received,
                entry.body,
            )
            for key, entry in entries.items()
        ]
        return {_Key(source, event_id): ref for ref, source, event_id in self._events.add(connection, rows)}

    def _count_series(self, connection: Connection, entries: Mapping[_Key, Entry], now: datetime) -> dict[_Key, int]:
        """Return the place of each event in its series; the rows of series stay locked until the commit."""
        members: dict[str, list[_Key]] = {}
        for key, entry in entries.items():
            if entry.series:
                members.setdefault(bounded(entry.series), []).append(key)
        if not members:
            return {}
        counted = self._moment(now)
        rows = [(name, len(members[name]), counted) for name in sorted(members)]
        return {
            key: last - len(members[name]) + place
            for name, last in self._series.add(connection, rows)
            for place, key in enumerate(members[name], 1)
        }

    def _match_others(self, connection: Connection, entries: Mapping[_Key, Entry]) -> dict[_Key, Sequence[str]]:
        if self._match is None or not entries:
            return {}
        return dict(zip(entries, self._match(connection, list(entries.values())), strict=True))

    def _store_deliveries(
        self, connection: Connection, wanted: Sequence[tuple[_Stored, str | None, str]], now: datetime
    ) -> tuple[Counter[int], list[Job]]:
        """Store new deliveries.

        Returns:
            The number of deliveries by event ref, and their jobs in the order of ``wanted``.
        """
        created = self._moment(now)
        rows = {}
        for event, series, name in wanted:
            listener, line = bounded(name), bounded(series) if series else None
            lock = f"{listener}|{line}" if line else None
            rows[event.ref, listener] = (event.ref, listener, lock, line, event.place, WAITING, 0, 0, created, created)
        if not rows:
            return Counter(), []
        added = {(event, listener): ref for ref, event, listener in self._deliveries.add(connection, [*rows.values()])}
        jobs = [Job(added[key], row[2], None, row[1]) for key, row in rows.items() if key in added]
        return Counter(event for event, _ in added), jobs

    def _moment(self, time: datetime) -> Any:
        """Return a time as the driver takes it: SQLite keeps texts, in SQLAlchemy's format."""
        try:
            utc = time.astimezone(UTC)
        except OverflowError:  # in UTC it is year 0 or 10000
            return None
        return utc.isoformat(sep=" ", timespec="microseconds")[:26] if self._database.is_sqlite else utc


def _find_known(connection: Connection, keys: Collection[_Key]) -> dict[_Key, _Stored]:
    """Find known events, and lock them against new deliveries and deletion until the commit."""
    count = select(func.max(deliveries.c.count)).where(deliveries.c.event_ref == events.c.ref).scalar_subquery()
    found = connection.execute(
        select(events.c.source, events.c.event_id, events.c.ref, count)
        .where(tuple_(events.c.source, events.c.event_id).in_(list(keys)))
        .order_by(events.c.ref)
        .with_for_update(key_share=True)
    )
    return {_Key(source, event_id): _Stored(ref, place) for source, event_id, ref, place in found}


_EVENT = {
    "source": "text",
    "event_id": "text",
    "name": "text",
    "subject": "text",
    "time": "timestamptz",
    "received_at": "timestamptz",
    "body": "bytea",
}
_IF_NEW_EVENT = "ON CONFLICT (source, event_id) DO NOTHING RETURNING ref, source, event_id"

_SERIES = {"key": "text", "last_count": "bigint", "last_at": "timestamptz"}
_OR_COUNT = (
    "ON CONFLICT (key) DO UPDATE SET last_count = series.last_count + excluded.last_count, last_at = excluded.last_at"
    " RETURNING key, last_count"
)

_DELIVERY = {
    "event_ref": "bigint",
    "listener": "text",
    "lock": "text",
    "series": "text",
    "count": "bigint",
    "status": "text",
    "attempts": "integer",
    "earlier": "integer",
    "created_at": "timestamptz",
    "due_at": "timestamptz",
}
_IF_NEW_DELIVERY = "ON CONFLICT (event_ref, listener) DO NOTHING RETURNING ref, event_ref, listener"
