"""What tests of deliveries record, and see of it; as a program, a process that records."""

import sys
from contextlib import contextmanager
from typing import NamedTuple

from sqlalchemy import select, text

from extension_kit.deliveries.outbox import Entry, Outbox
from extension_kit.deliveries.tables import deliveries, events
from extension_kit.engine.app import Engine
from extension_kit.store.database import Database
from extension_kit.store.migrate import upgrade


def entry(event_id="1", *listeners, **more):
    """An event for some listeners; ``oncall`` where none is named."""
    values = {"source": "steadybit", "name": "a.b", "subject": None, "time": None, "body": b"{}", "series": None}
    return Entry(**{**values, **more}, event_id=event_id, listeners=listeners or ("oncall",))


class Delivery(NamedTuple):
    event_id: str
    listener: str
    series: str | None
    count: int | None


def stored(database):
    """The deliveries, in the order of their refs."""
    columns = (events.c.event_id, deliveries.c.listener, deliveries.c.series, deliveries.c.count)
    with database.read() as connection:
        query = select(*columns).join_from(deliveries, events).order_by(deliveries.c.ref)
        return [Delivery(*row) for row in connection.execute(query)]


def queued(database):
    """The jobs as (delivery, lock, listener), in the order in which they were added."""
    ref = "json_extract(args, '$.delivery_ref')" if database.is_sqlite else "(args ->> 'delivery_ref')::bigint"
    with database.read() as connection:
        query = f"SELECT {ref}, lock, listener FROM procrastinate_jobs ORDER BY id"
        return [tuple(row) for row in connection.execute(text(query))]


def rows(database, *tables):
    """How many rows the tables have."""
    with database.read() as connection:
        return [connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one() for table in tables]


@contextmanager
def queue_of(url):
    """An engine of its own for a database, which is brought up to date."""
    database = Database(url)
    engine = Engine(database)
    upgrade(database, engine.create_tables)
    try:
        yield engine
    finally:
        database.dispose()


def record_many(url, listener, groups):
    """Record groups of events, given by their ids, as a process does: with connections of its own."""
    with queue_of(url) as engine:
        outbox = Outbox(engine.database, engine)
        for group in groups:
            outbox.record([entry(event_id, listener, "shared", series="t/1") for event_id in group])


if __name__ == "__main__":
    url, listener, *ids = sys.argv[1:]
    input()  # what it is started with is said on stdin, so that all begin at the same time
    record_many(url, listener, [ids[at : at + 5] for at in range(0, len(ids), 5)])
