"""What the kit offers to extensions that speak another system's event protocol: the database, and publishing."""

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
        database: where events, deliveries and the tables of extensions are.
        senders: what deliveries to subscriptions are made with; they check targets.
    """

    settings: Settings
    database: Database
    senders: Senders
    _outbox: Outbox
    _listeners: PatternIndex[Listener]

    def read(self) -> AbstractContextManager[Connection]:
        """Read, in a transaction that sees one state of the database and keeps nobody from writing.

        Raises:
            StoreError: the database cannot be used.
        """
        return self.database.read()

    @contextmanager
    def transaction(self) -> Iterator["Transaction"]:
        """Read, write and publish, all of it or nothing: it is committed at the end, or rolled back for an error.

        On SQLite nobody else writes meanwhile, and one within another waits in vain; so do in it only what has to be,
        and read requests before. Rows, and the series of published events, stay locked until the end: who changes rows
        of its own and publishes does it always in the same order and publishes once, or two that meet may each wait
        for the other, and PostgreSQL ends one of them with a StoreError.

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
    """A transaction under way.

    Attributes:
        connection: executes statements of SQLAlchemy.
        published: how many events were published in it.
    """

    def __init__(self, connection: Connection, outbox: Outbox, listeners: PatternIndex[Listener]) -> None:
        self.connection = connection
        self.published = 0
        self._outbox = outbox
        self._listeners = listeners

    def publish(self, *events: PublishedEvent) -> list[Recorded]:
        """Record events, and what is to be delivered of them: to every function and subscription that wants them.

        Functions run in a worker, those of immediate listeners, too: there is no sender who waits for them. An event
        that is known by its source and id is not recorded again.

        Returns:
            What became of each event. The place of a known one is None where nobody wanted it.
        """
        if not events:
            return []
        self.published += len(events)
        entries = [Entry.of(event, self._listeners.match(event.name), scope=event.scope) for event in events]
        return self._outbox.write(self.connection, entries)
