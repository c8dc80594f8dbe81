"""The deliveries of a database, as its queue has them."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import select, update

from extension_kit.deliveries.call_up import call_up
from extension_kit.deliveries.outbox import Outbox
from extension_kit.deliveries.tables import DELIVERY_COLUMNS, attempts, deliveries, events
from extension_kit.engine.postgresql_queue import PostgresqlQueue
from extension_kit.engine.sqlite_queue import SqliteQueue
from tests.support.recording import entry

ALL = range(32)


class Deliveries:
    """The deliveries of a database.

    Args:
        database: the database.
    """

    def __init__(self, database):
        self.database = database
        self.queue = SqliteQueue() if database.is_sqlite else PostgresqlQueue()
        self.shards = [0] if database.is_sqlite else list(ALL)
        self._outbox = Outbox(database)

    def add(self, *ids, listener="oncall", series=None, body=b"{}", **columns):
        """Record an event for each id, give their deliveries values, and return the numbers of these."""
        self._outbox.record([entry(each, listener, series=series, body=body) for each in ids])
        of = select(deliveries.c.ref).join(events).where(events.c.event_id.in_(ids), deliveries.c.listener == listener)
        with self.database.read() as connection:
            refs = list(connection.execute(of.order_by(deliveries.c.ref)).scalars())
        if columns:
            self.set(*refs, **columns)
        return refs

    def set(self, *refs, **columns):
        """Give deliveries values."""
        with self.database.transaction() as connection:
            connection.execute(update(deliveries).where(deliveries.c.ref.in_(refs)).values(columns))

    def row(self, ref):
        """One delivery."""
        with self.database.read() as connection:
            return connection.execute(select(*DELIVERY_COLUMNS).where(deliveries.c.ref == ref)).one()

    def stages(self, *refs):
        """The stages of deliveries."""
        return [self.row(ref).stage for ref in refs]

    def statuses(self):
        """The status of each delivery, by the id of its event."""
        query = select(events.c.event_id, deliveries.c.status).select_from(deliveries.join(events))
        with self.database.read() as connection:
            return {row.event_id: row.status for row in connection.execute(query)}

    def attempts(self, ref):
        """The attempts of a delivery: number, result."""
        query = select(attempts.c.number, attempts.c.result).where(attempts.c.delivery_ref == ref)
        with self.database.read() as connection:
            return [tuple(row) for row in connection.execute(query.order_by(attempts.c.number))]

    def claim(self, *refs, now=None):
        """Claim deliveries."""
        with self.database.transaction() as connection:
            return self.queue.claim(connection, refs, now or datetime.now(UTC))

    def call(self, name, *arguments):
        """Call a method of the queue in a transaction of its own."""
        with self.database.transaction() as connection:
            return getattr(self.queue, name)(connection, *arguments)

    def call_up(self, *locks):
        """Call up the next delivery of each lock, in a transaction of its own."""
        with self.database.transaction() as connection:
            call_up(connection, locks)


def in_(seconds):
    """The time in so many seconds."""
    return datetime.now(UTC) + timedelta(seconds=seconds)
