"""Outbox: commits events once, with their places in a series and their deliveries, in one transaction."""

import sqlite3
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple

import psycopg
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from extension_kit.deliveries.entries import Entry, Match, Recorded
from extension_kit.deliveries.notify import notify_workers
from extension_kit.deliveries.series_counts import count_up
from extension_kit.deliveries.shards import shard_of
from extension_kit.deliveries.step_memory import remember_step
from extension_kit.deliveries.tables import BEHIND, READY, WAITING, bounded
from extension_kit.deliveries.trial import write_trial
from extension_kit.store.bulk_insert import BulkInsert, NumberedInsert
from extension_kit.store.bulk_statement import BulkStatement
from extension_kit.store.database import Database
from extension_kit.store.errors import refused
from extension_kit.store.types import DriverTime, driver_time

_Key = tuple[str, str]
"""Identity of an event: its source and its id, as they are stored."""


class _Stored(NamedTuple):
    """Events in the table.

    Attributes:
        refs: their numbers.
        new: those of them that were stored just now.
        places: places in their series of those that were known, from 1; None without a series.
    """

    refs: Mapping[_Key, int]
    new: Mapping[_Key, Entry]
    places: dict[_Key, int | None]


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
        moment = self._driver_time(now)
        keys = [(bounded(entry.source), bounded(entry.event_id)) for entry in entries]
        first: dict[_Key, Entry] = {}
        for key, entry in zip(keys, entries, strict=True):
            first.setdefault(key, entry)
        stored = self._store_events(connection, first, moment)
        for entry in stored.new.values():
            if entry.step and entry.series:
                remember_step(connection, entry.series, entry.step, entry.body, now)
        places = stored.places
        places |= _count_series(connection, stored.new, moment)
        others = self._match_others(connection, stored.new)
        wanted = [
            (key, entry.series, listener)
            for key, entry in zip(keys, entries, strict=True)
            for listener in ((*entry.listeners, *others[key]) if key in others else entry.listeners)
        ]
        added = self._store_deliveries(connection, wanted, stored, moment)
        if added:
            notify_workers(connection)
        return [Recorded(key in stored.new, places.get(key), added.pop(key, 0)) for key in keys]

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
                write_trial(connection, self._match, attempts=attempts)
                written.rollback()

    @contextmanager
    def _understood(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, sqlite3.Error, psycopg.Error) as error:
            raise refused(error, self._database.name) from error

    def _store_events(self, connection: Connection, entries: Mapping[_Key, Entry], now: DriverTime) -> _Stored:
        """Store new events, numbered in the order of their arrival, and find the known ones."""
        rows = [
            (
                *key,
                bounded(entry.name),
                bounded(entry.subject) if entry.subject else None,
                self._driver_time(entry.time) if entry.time else None,
                entry.body,
            )
            for key, entry in entries.items()
        ]
        refs = _EVENTS.add_numbered(connection, rows, (now,))
        if len(refs) == len(entries):
            return _Stored(dict(zip(entries, refs, strict=True)), entries, {})
        found = _find(connection, entries)
        added = set(refs)
        return _Stored(
            {key: ref for key, (ref, _) in found.items()},
            {key: entry for key, entry in entries.items() if found[key][0] in added},
            {key: place for key, (ref, place) in found.items() if ref not in added},
        )

    def _match_others(self, connection: Connection, entries: Mapping[_Key, Entry]) -> dict[_Key, Sequence[str]]:
        wanted = {key: entry for key, entry in entries.items() if not entry.is_direct}
        if self._match is None or not wanted:
            return {}
        return dict(zip(wanted, self._match(connection, list(wanted.values())), strict=True))

    def _store_deliveries(
        self, connection: Connection, wanted: Sequence[tuple[_Key, str | None, str]], stored: _Stored, now: DriverTime
    ) -> Counter[_Key]:
        """Store new deliveries, and return their number by event.

        Of the deliveries of new events with one lock only the first is ready; the others are behind it.
        """
        refs, new, places = stored
        is_sqlite = self._database.is_sqlite
        rows: dict[tuple[_Key, str], tuple[Any, ...]] = {}
        led: set[str] = set()
        for key, series, name in wanted:
            listener = bounded(name)
            if (key, listener) in rows:
                continue
            ref, line, lock, stage = refs[key], None, None, READY
            if series:
                line = bounded(series)
                lock = f"{listener}|{line}"
                if key in new:  # those of known events may exist already
                    stage = BEHIND if lock in led else READY
                    led.add(lock)
            shard = shard_of(lock, listener, ref, is_sqlite=is_sqlite)
            rows[key, listener] = (ref, listener, lock, line, places.get(key), shard, stage)
        if not rows:
            return Counter()
        if len(new) == len(refs):
            _DELIVERIES.add(connection, [*rows.values()], (now, now))
            return Counter(key for key, _ in rows)
        by_ref = {ref: key for key, ref in refs.items()}
        return Counter(by_ref[ref] for (ref,) in _NEW_DELIVERIES.add(connection, [*rows.values()], (now, now)))

    def _driver_time(self, time: datetime) -> DriverTime:
        return driver_time(time, is_sqlite=self._database.is_sqlite)


def _find(connection: Connection, keys: Collection[_Key]) -> dict[_Key, tuple[int, int | None]]:
    """Find events with their places, and lock them against new deliveries and deletion until the commit."""
    found = (_FIND if connection.dialect.name == "sqlite" else _FIND_AND_LOCK).execute(connection, list(keys))
    return {(source, event_id): (ref, place) for source, event_id, ref, place in found}


def _count_series(connection: Connection, entries: Mapping[_Key, Entry], now: DriverTime) -> dict[_Key, int]:
    """Return the place of each event in its series; the rows of series stay locked until the commit."""
    members: dict[str, list[_Key]] = {}
    for key, entry in entries.items():
        if entry.series:
            members.setdefault(bounded(entry.series), []).append(key)
    if not members:
        return {}
    last = count_up(connection, {name: len(keys) for name, keys in members.items()}, now)
    return {key: place for name, keys in members.items() for place, key in enumerate(keys, last[name] - len(keys) + 1)}


_EVENTS = NumberedInsert(
    "events",
    {
        "source": "text",
        "event_id": "text",
        "name": "text",
        "subject": "text",
        "time": "timestamptz",
        "body": "bytea",
    },
    "ON CONFLICT (source, event_id) DO NOTHING",
    order=("source", "event_id"),
    shared={"received_at": "timestamptz"},
)

_EVENTS_OF_KEYS = """
    SELECT events.source, events.event_id, events.ref,
        (SELECT max(deliveries.count) FROM deliveries WHERE deliveries.event_ref = events.ref)
    FROM {given} CROSS JOIN events WHERE events.source = given.source AND events.event_id = given.event_id
    ORDER BY events.ref
"""
_KEY = {"source": "text", "event_id": "text"}
_FIND = BulkStatement(_EVENTS_OF_KEYS, _KEY)
_FIND_AND_LOCK = BulkStatement(f"{_EVENTS_OF_KEYS} FOR KEY SHARE OF events", _KEY)

_DELIVERY = {
    "event_ref": "bigint",
    "listener": "text",
    "lock": "text",
    "series": "text",
    "count": "bigint",
    "shard": "integer",
    "stage": "text",
}
_OF_ALL: dict[str, Mapping[str, str]] = {
    "same": {"status": f"'{WAITING}'", "attempts": "0", "earlier": "0", "losses": "0"},
    "shared": {"created_at": "timestamptz", "due_at": "timestamptz"},
}
_DELIVERIES = BulkInsert("deliveries", _DELIVERY, **_OF_ALL)
_NEW_DELIVERIES = BulkInsert(
    "deliveries", _DELIVERY, "ON CONFLICT (event_ref, listener) DO NOTHING RETURNING event_ref", **_OF_ALL
)
