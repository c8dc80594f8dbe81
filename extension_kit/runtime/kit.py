"""Kit: the database and publishing, as given to routes and tasks of event protocols."""

import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from sqlalchemy import Connection

from extension_kit.deliveries.entries import Entry, Recorded
from extension_kit.deliveries.outbox import Outbox
from extension_kit.deliveries.sender_pool import Senders
from extension_kit.deliveries.subscription_matching import listener_key, wanted_names
from extension_kit.events.names import STEADYBIT_EVENT_NAMES
from extension_kit.events.patterns import PatternIndex
from extension_kit.events.published import PublishedEvent
from extension_kit.events.registry import Listener
from extension_kit.observability import metrics
from extension_kit.settings.kit import Settings
from extension_kit.store.database import Database


@dataclass(frozen=True)
class Kit:
    """The kit, as the routes and tasks of a protocol see it.

    Attributes:
        settings: the kit's own.
        database: holds events, deliveries and the tables of extensions.
        senders: make deliveries to subscriptions, and check targets.
        event_names: names of the events that can arrive at this service: Steadybit's, and the names and patterns of
            names of its event protocols.
        listened_to: the names and patterns of names that functions listen to.
    """

    settings: Settings
    database: Database
    senders: Senders
    event_names: tuple[str, ...]
    listened_to: tuple[str, ...]
    _outbox: Outbox
    _listeners: PatternIndex[Listener]

    @classmethod
    def of(
        cls,
        settings: Settings,
        database: Database,
        senders: Senders,
        outbox: Outbox,
        listeners: Iterable[Listener],
        names: Iterable[str],
    ) -> "Kit":
        """Make the kit of a service.

        Args:
            settings: the kit's own.
            database: with the tables of this release.
            senders: of this process.
            outbox: records published events in the database.
            listeners: those that get deliveries of published events.
            names: names and patterns of names of the events of its event protocols.
        """
        index: PatternIndex[Listener] = PatternIndex()
        patterns: dict[str, None] = {}
        for listener in listeners:
            index.add(listener.patterns, listener)
            patterns |= dict.fromkeys(listener.patterns)
        return cls(settings, database, senders, (*STEADYBIT_EVENT_NAMES, *names), tuple(patterns), outbox, index)

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
        entries = [
            Entry.of(
                event,
                [listener.key for listener in self._listeners.match(event.name)],
                scope=event.scope,
                trace_context=event.trace_context,
            )
            for event in events
        ]
        return self._outbox.write(self.connection, entries)

    def deliver(self, event: PublishedEvent, subscriptions: Sequence[int]) -> Recorded:
        """Record an event with deliveries to some subscriptions only.

        Neither their patterns, subjects and scopes matter, nor whether they are enabled. An event with a known source
        and id is not recorded again; it is delivered to those of the subscriptions that have not got it yet.

        Args:
            event: the event; no function and no other subscription gets it.
            subscriptions: the numbers (``Subscription.ref``) of the subscriptions.

        Returns:
            The result for the event.
        """
        return self.deliver_all([(event, subscriptions)])[0]

    def deliver_all(self, deliveries: Sequence[tuple[PublishedEvent, Sequence[int]]]) -> list[Recorded]:
        """Record events, each with deliveries to some subscriptions only, as ``deliver`` does.

        Args:
            deliveries: the events, each with the numbers of its subscriptions.

        Returns:
            The result for each event.
        """
        if not deliveries:
            return []
        self.published += len(deliveries)
        entries = [
            Entry.of(event, map(listener_key, refs), is_direct=True, trace_context=event.trace_context)
            for event, refs in deliveries
        ]
        return self._outbox.write(self.connection, entries)

    def wanted(self, names: Collection[str]) -> set[str]:
        """Return the event names, of those given, that a function or a subscription wants, of any subject and scope.

        Nobody gets an event of another name. So a protocol that keeps its events in tables of its own need not publish
        it.
        """
        others = [name for name in names if not self._listeners.match(name)]
        return set(names).difference(others).union(wanted_names(self.connection, others) if others else ())
