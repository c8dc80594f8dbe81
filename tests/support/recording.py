"""What tests of deliveries record, and see of it; as a program, a process that records."""

import sys
from contextlib import contextmanager
from typing import NamedTuple

import pytest
import sqlalchemy
from sqlalchemy import select, update

from extension_kit.deliveries.entries import Entry
from extension_kit.deliveries.outbox import Outbox
from extension_kit.deliveries.tables import BEHIND, DELIVERY_COLUMNS, READY, deliveries, events
from extension_kit.store.database import Database
from extension_kit.store.migrate import upgrade
from extension_kit.store.prepared import PreparedStatement


def entry(event_id="1", *listeners, **more):
    """An event for some listeners; ``oncall`` where none is named."""
    values = {"source": "steadybit", "name": "a.b", "subject": None, "time": None, "body": b"{}", "series": None}
    return Entry(**{**values, **more}, event_id=event_id, listeners=listeners or ("oncall",))


class Delivery(NamedTuple):
    event_id: str
    listener: str
    series: str | None
    place: int | None


def stored(database):
    """The deliveries, in the order of their refs."""
    columns = (events.c.event_id, deliveries.c.listener, deliveries.c.series, deliveries.c.place)
    with database.read() as connection:
        query = select(*columns).join_from(deliveries, events).order_by(deliveries.c.ref)
        return [Delivery(*row) for row in connection.execute(query)]


def queued(database):
    """The deliveries that wait for a worker or for others, as (delivery, lock, listener), in their order."""
    columns = (deliveries.c.ref, deliveries.c.lock, deliveries.c.listener)
    with database.read() as connection:
        query = select(*columns).where(deliveries.c.stage.in_([READY, BEHIND])).order_by(deliveries.c.ref)
        return [tuple(row) for row in connection.execute(query)]


def all_of(database):
    """All columns of the deliveries, in the order of their refs."""
    with database.read() as connection:
        return connection.execute(select(*DELIVERY_COLUMNS).order_by(deliveries.c.ref)).all()


def stages(database):
    """The stages of the deliveries, in the order of their refs."""
    return [row.stage for row in all_of(database)]


def change(database, refs=None, **values):
    """Have something become of deliveries; of all, where none is named."""
    with database.transaction() as connection:
        wanted = deliveries.c.ref.in_(refs) if refs else deliveries.c.ref > 0
        connection.execute(update(deliveries).where(wanted).values(values))


def rows(database, *tables):
    """How many rows the tables have."""
    with database.read() as connection:
        return [connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one() for table in tables]


@contextmanager
def queries(database):
    """The statements that are sent meanwhile, with their parameters."""
    sent = []

    def note(connection, cursor, statement, parameters, context, executemany):
        sent.append((statement, parameters))

    sqlalchemy.event.listen(database.engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        sqlalchemy.event.remove(database.engine, "before_cursor_execute", note)


@contextmanager
def prepared_queries():
    """The prepared statements that are executed meanwhile, each as its text and its values for the driver."""
    sent = []
    bound = PreparedStatement._bound

    def note(statement, dialect, variables):
        compiled, given = bound(statement, dialect, variables)
        sent.append((compiled.text, given))
        return compiled, given

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PreparedStatement, "_bound", note)
        yield sent


def record_many(url, listener, groups):
    """Record groups of events, given by their ids, as a process does: with connections of its own."""
    database = Database(url)
    upgrade(database)
    try:
        outbox = Outbox(database)
        for group in groups:
            outbox.record([entry(event_id, listener, "shared", series="t/1") for event_id in group])
    finally:
        database.dispose()


if __name__ == "__main__":
    url, listener, *ids = sys.argv[1:]
    input()  # what it is started with is said on stdin, so that all begin at the same time
    record_many(url, listener, [ids[at : at + 5] for at in range(0, len(ids), 5)])
