"""Outbox: commits events once, with their places in a series and their deliveries, in one transaction."""

import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from sqlalchemy import Connection

from extension_kit.deliveries.delivery_rows import add_deliveries
from extension_kit.deliveries.entries import Entry, Match, Recorded
from extension_kit.deliveries.event_rows import Key, keys_of, store_events
from extension_kit.deliveries.notify import notify_workers
from extension_kit.deliveries.trial import write_trial
from extension_kit.store.database import Database
from extension_kit.store.errors import refusals
from extension_kit.store.types import driver_time

logger = logging.getLogger("extension_kit.deliveries")

# Of the space that has to be left, so that events are not accepted again for a moment only.
_AHEAD = 1.5


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
        with refusals(self._database.name), self._database.transaction() as connection:
            return sum(recorded.deliveries for recorded in self.write(connection, entries))

    def write(self, connection: Connection, entries: Sequence[Entry]) -> list[Recorded]:
        """Write entries, at least one, within the transaction of a connection, as ``record`` does.

        They are stored with the time at which the first of them was received.

        Returns:
            The result for each entry. Deliveries are counted with the first entry of their event.
        """
        self._database.check_room(connection, sum([len(entry.body) for entry in entries]))
        now = entries[0].received_at or datetime.now(UTC)
        keys = keys_of(entries)
        first: dict[Key, Entry] = {}
        for key, entry in zip(keys, entries, strict=True):
            first.setdefault(key, entry)
        stored = dict(zip(first, store_events(connection, first, now), strict=True))
        if logger.isEnabledFor(logging.DEBUG):
            for key, event in stored.items():
                if not event.is_new:
                    logger.debug("Duplicate event %s %s: it is stored already", first[key].name, first[key].event_id)
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
        with refusals(self._database.name), self._database.transaction() as connection:
            self._database.rewrite_version(connection)
            self._database.check_room(connection, share=_AHEAD)
            with connection.begin_nested() as written:
                write_trial(connection, self._match, attempts=attempts)
                written.rollback()

    def _match_others(self, connection: Connection, entries: Mapping[Key, Entry]) -> dict[Key, Sequence[str]]:
        wanted = {key: entry for key, entry in entries.items() if not entry.is_direct}
        if self._match is None or not wanted:
            return {}
        return dict(zip(wanted, self._match(connection, list(wanted.values())), strict=True))
