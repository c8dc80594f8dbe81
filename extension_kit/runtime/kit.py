"""Kit: the database and publishing, as given to routes and tasks of event protocols."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from sqlalchemy import Connection

from extension_kit.deliveries.outbox import Entry, Outbox, Recorded
from extension_kit.deliveries.sender_pool import Senders
from extension_kit.events.patterns import PatternIndex
from extension_kit.events.published import PublishedEvent
from extension_kit.events.registry import Listener
from extension_kit.observability import metrics
from extension_kit.settings.kit import Settings
from extension_kit.store.database import Database


@dataclass(frozen=True)
class Host:
    """The kit, as the routes and tasks of a protocol see it.

    Attributes:
        settings: the kit's own.
        database: holds events, deliveries and the tables of extensions.
        senders: make deliveries to subscriptions, and check targets.
    """

    settings: Settings
    database: Database
    senders: Senders
    _outbox: Outbox
    _listeners: PatternIndex[Listener]

    def read(self) -> AbstractContextManager[Connection]:
        """Read in a transaction that sees one state of the database and blocks no writer.

        Raises:
            StoreError: the database cannot be used.
        """
        return self.database.read()

    @contextmanager
    def transaction(self) -> Iterator["Transaction"]:
        """Read, write and publish in one transaction: committed at the end, rolled back on an exception.

        On SQLite this holds the only write lock: keep it short, never nest it, parse the request before. Changed rows
        and the series of published events stay locked until the end. So on PostgreSQL, change your own rows and publish
        in a fixed order, and publish once; otherwise two transactions may deadlock, and one gets a StoreError.

        Raises:
            StoreError: the database cannot be used; nothing was written.
        """
        started = time.perf_counter()
        with self.database.transaction() as connection:
            transaction = Transaction(connection, self._outbox, self._listeners)
            yield transaction
        if transaction.published:
            metrics.committed(transaction.published, time.perf_counter() - started)


class Transaction:
    """An open transaction.

    Attributes:
        connection: executes statements of SQLAlchemy.
        published: number of events published in it.
    """

    def __init__(self, connection: Connection, outbox: Outbox, listeners: PatternIndex[Listener]) -> None:
        self.connection = connection
        self.published = 0
        self._outbox = outbox
        self._listeners = listeners

    def publish(self, *events: PublishedEvent) -> list[Recorded]:
        """Record events with their deliveries: one for each function and subscription that wants the event.

        Functions run in a worker, those of immediate listeners, too: no sender waits for an answer. An event with a
        known source and id is not recorded again.

        Returns:
            The result for each event. The place of a known event is None if it has no deliveries.
        """
        if not events:
            return []
        self.published += len(events)
        entries = [Entry.of(event, self._listeners.match(event.name), scope=event.scope) for event in events]
        return self._outbox.write(self.connection, entries)
