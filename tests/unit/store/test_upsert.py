"""A row that is there already is left alone, or updated: the same on both stores."""

import threading
from datetime import UTC, datetime

import pytest
from sqlalchemy import Column, Integer, String, Table, select

from extension_kit.store.types import NUMBER, UtcDateTime, new_metadata
from extension_kit.store.upsert import insert_or_ignore, upsert

metadata = new_metadata()
counts = Table(
    "counts",
    metadata,
    Column("house", String(20), primary_key=True),
    Column("door", String(20), primary_key=True),
    Column("count", Integer, nullable=False),
    Column("first_at", UtcDateTime),
    Column("last_at", UtcDateTime),
)
guests = Table(
    "guests",
    metadata,
    Column("ref", NUMBER, primary_key=True, autoincrement=True),
    Column("name", String(20), nullable=False, unique=True),
    Column("wish", String(20)),
)
ONE_MORE = {"count": counts.c.count + 1}
EARLIER, LATER = (datetime(2026, 1, day, tzinfo=UTC) for day in (1, 2))


@pytest.fixture
def tables(database):
    with database.transaction() as connection:
        metadata.create_all(connection)
    return database


def ring(connection, door, at, house="home"):
    values = {"house": house, "door": door, "count": 1, "first_at": at, "last_at": at}
    counted = upsert(
        connection, counts, values, update=["last_at"], expressions=ONE_MORE, returning=[counts.c.count, counts.c.door]
    )
    return counted.one()


def rows(connection, table):
    return [tuple(row) for row in connection.execute(select(table).order_by(*table.primary_key))]


def test_a_row_that_is_there_gets_the_columns_named_and_keeps_the_others(tables):
    with tables.transaction() as connection:
        assert tuple(ring(connection, "front", EARLIER)) == (1, "front")
        assert tuple(ring(connection, "front", LATER)) == (2, "front")
        assert tuple(ring(connection, "back", LATER)) == (1, "back")
        assert tuple(ring(connection, "front", LATER, house="other")) == (1, "front")
        assert rows(connection, counts) == [
            ("home", "back", 1, LATER, LATER),
            ("home", "front", 2, EARLIER, LATER),
            ("other", "front", 1, LATER, LATER),
        ]


def test_nothing_has_to_be_returned(tables):
    values = {"house": "home", "door": "front", "count": 1}
    with tables.transaction() as connection:
        upsert(connection, counts, values, update=["count"])
        upsert(connection, counts, {**values, "count": 5}, update=["count"])
        insert_or_ignore(connection, counts, {**values, "count": 7})
        assert rows(connection, counts) == [("home", "front", 5, None, None)]


def test_a_row_that_is_there_is_left_alone(tables):
    with tables.transaction() as connection:
        columns = [guests.c.ref, guests.c.name]
        first = insert_or_ignore(connection, guests, {"name": "anna", "wish": "tea"}, returning=columns).one()
        again = insert_or_ignore(connection, guests, {"name": "anna", "wish": "cake"}, returning=columns)
        assert again.one_or_none() is None
        second = insert_or_ignore(connection, guests, {"name": "ben"}, returning=columns).one()
        assert second.ref > first.ref
        assert rows(connection, guests) == [(first.ref, "anna", "tea"), (second.ref, "ben", None)]


def test_a_row_is_locked_until_the_commit(tables):
    counted = []

    def ring_once_more():
        with tables.transaction() as connection:
            counted.append(ring(connection, "front", LATER).count)

    thread = threading.Thread(target=ring_once_more)
    with tables.transaction() as connection:
        ring(connection, "front", EARLIER)
        thread.start()
        ring(connection, "front", EARLIER)
    thread.join()
    assert counted == [3]
