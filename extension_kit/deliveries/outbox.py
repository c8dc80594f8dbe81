"""Outbox: commits events once, with their places in a series and their deliveries, in one transaction."""

import sqlite3
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple

import psycopg
from sqlalchemy import Connection, func, select, tuple_
from sqlalchemy.exc import SQLAlchemyError

from extension_kit.deliveries.entries import Entry, Match, Recorded
from extension_kit.deliveries.notify import notify_workers
from extension_kit.deliveries.shards import shard_of
from extension_kit.deliveries.step_memory import remember_step
from extension_kit.deliveries.tables import BEHIND, READY, WAITING, bounded, deliveries, events
from extension_kit.deliveries.trial import write_trial
from extension_kit.store.bulk_insert import BulkInsert
from extension_kit.store.database import Database
from extension_kit.store.errors import refused
from extension_kit.store.types import driver_time


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
        match: finds further listeners of an event.
    """

    def __init__(self, database: Database, match: Match | None = None) -> None:
        self._database = database
        self._match = match
        self._events = BulkInsert("events", _EVENT, _IF_NEW_EVENT, order=_Key._fields)
        self._series = BulkInsert("series", _SERIES, _OR_COUNT)
        self._deliveries = BulkInsert("deliveries", _DELIVERY, _IF_NEW_DELIVERY)

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
        added = self._store_deliveries(connection, wanted, {refs[key] for key in new}, now)
        if added:
            notify_workers(connection)
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
                write_trial(connection, self._series, self._match, attempts=attempts)
                written.rollback()

    @contextmanager
    def _understood(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, sqlite3.Error, psycopg.Error) as error:
            raise refused(error, self._database.name) from error

    def _store_events(self, connection: Connection, entries: Mapping[_Key, Entry], now: datetime) -> dict[_Key, int]:
        """Store new events, numbered in the order of their arrival, and return their refs."""
        received = self._driver_time(now)
        rows = [
            (
                *key,
                bounded(entry.name),
                bounded(entry.subject) if entry.subject else None,
                self._driver_time(entry.time) if entry.time else None,
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
        counted = self._driver_time(now)
        rows = [(name, len(members[name]), counted) for name in sorted(members)]
        return {
            key: last - len(members[name]) + place
            for name, last in self._series.add(connection, rows)
            for place, key in enumerate(members[name], 1)
        }

    def _match_others(self, connection: Connection, entries: Mapping[_Key, Entry]) -> dict[_Key, Sequence[str]]:
        wanted = {key: entry for key, entry in entries.items() if not entry.is_direct}
        if self._match is None or not wanted:
            return {}
        return dict(zip(wanted, self._match(connection, list(wanted.values())), strict=True))

    def _store_deliveries(
        self, connection: Connection, wanted: Sequence[tuple[_Stored, str | None, str]], new: set[int], now: datetime
    ) -> Counter[int]:
        """Store new deliveries, and return their number by event ref.

        Of the deliveries of new events with one lock only the first is ready; the others are behind it.
        """
        created = self._driver_time(now)
        rows: dict[tuple[int, str], tuple[Any, ...]] = {}
        led: set[str] = set()
        for event, series, name in wanted:
            listener, line = bounded(name), bounded(series) if series else None
            if (event.ref, listener) in rows:
                continue
            lock, stage = f"{listener}|{line}" if line else None, READY
            if lock is not None and event.ref in new:  # those of known events may exist already
                stage = BEHIND if lock in led else READY
                led.add(lock)
            shard = shard_of(lock, listener, event.ref, is_sqlite=self._database.is_sqlite)
            place = (lock, line, event.place, shard)
            rows[event.ref, listener] = (event.ref, listener, *place, WAITING, stage, 0, 0, 0, created, created)
        if not rows:
            return Counter()
        return Counter(event for (event,) in self._deliveries.add(connection, [*rows.values()]))

    def _driver_time(self, time: datetime) -> str | datetime | None:
        return driver_time(time, is_sqlite=self._database.is_sqlite)


def _find_known(connection: Connection, keys: Collection[_Key]) -> dict[_Key, _Stored]:
    """Find known events, and lock them against new deliveries and deletion until the commit."""
    count = select(func.max(deliveries.c.place)).where(deliveries.c.event_ref == events.c.ref).scalar_subquery()
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
    "shard": "integer",
    "status": "text",
    "stage": "text",
    "attempts": "integer",
    "earlier": "integer",
    "losses": "integer",
    "created_at": "timestamptz",
    "due_at": "timestamptz",
}
_IF_NEW_DELIVERY = "ON CONFLICT (event_ref, listener) DO NOTHING RETURNING event_ref"
