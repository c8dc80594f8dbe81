"""Outbox: commits events once, with their places in a series and their deliveries, in one transaction."""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

import psycopg
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from extension_kit.deliveries.delivery_rows import add_deliveries
from extension_kit.deliveries.entries import Entry, Match, Recorded
from extension_kit.deliveries.event_rows import Key, keys_of, store_events
from extension_kit.deliveries.notify import notify_workers
from extension_kit.deliveries.trial import write_trial
from extension_kit.store.database import Database
from extension_kit.store.errors import refused
from extension_kit.store.types import driver_time


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
        self._database.check_room(connection, sum([len(entry.body) for entry in entries]))
        now = datetime.now(UTC)
        keys = keys_of(entries)
        first: dict[Key, Entry] = {}
        for key, entry in zip(keys, entries, strict=True):
            first.setdefault(key, entry)
        stored = dict(zip(first, store_events(connection, first, now), strict=True))
        others = self._match_others(connection, {key: first[key] for key, event in stored.items() if event.is_new})
        wanted = [
            (stored[key], [*entry.listeners, *others[key]] if key in others else entry.listeners)
            for key, entry in zip(keys, entries, strict=True)
        ]
        added = add_deliveries(connection, wanted, driver_time(now, is_sqlite=self._database.is_sqlite))
        if added:
            notify_workers(connection)
        return [Recorded(event.is_new, event.place, added.pop(event.ref, 0)) for event, _ in wanted]

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

    def _match_others(self, connection: Connection, entries: Mapping[Key, Entry]) -> dict[Key, Sequence[str]]:
        wanted = {key: entry for key, entry in entries.items() if not entry.is_direct}
        if self._match is None or not wanted:
            return {}
        return dict(zip(wanted, self._match(connection, list(wanted.values())), strict=True))
