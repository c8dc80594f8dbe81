"""Statements that go to the driver give and take values of the types of their columns, on both stores."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import Boolean, Column, Float, Integer, MetaData, Table, Text, bindparam, insert, select, update

from extension_kit.store.bulk_insert import BulkInsert
from extension_kit.store.bulk_statement import BulkStatement
from extension_kit.store.prepared import PreparedStatement
from extension_kit.store.types import UtcDateTime, driver_time

NOON = datetime(2026, 11, 21, 12, 0, 0, 123456, UTC)

metadata = MetaData()
things = Table(
    "things",
    metadata,
    Column("ref", Integer, primary_key=True),
    Column("weight", Float),
    Column("is_new", Boolean),
    Column("at", UtcDateTime),
    Column("name", Text),
)
TYPES = {"weight": "double precision", "is_new": "boolean", "at": "timestamptz", "name": "text"}
ROWS = [(1.5, True, NOON, "a"), (None, None, None, None), (2.0, False, NOON, "'\" {} %s ? \u00e4")]
ALL = PreparedStatement(select(*(things.c[name] for name in TYPES)).order_by(things.c.ref))
ONE = PreparedStatement(select(things.c.weight).where(things.c.ref == bindparam("ref")))
RENAME = PreparedStatement(update(things).where(things.c.weight > bindparam("over")).values(name="heavy"))


@pytest.fixture
def store(database):
    with database.transaction() as connection:
        metadata.create_all(connection)
    yield database
    with database.transaction() as connection:
        metadata.drop_all(connection)


def encoded(store):
    return [
        (weight, is_new, at and driver_time(at, is_sqlite=store.is_sqlite), name) for weight, is_new, at, name in ROWS
    ]


def test_what_was_written_is_read(store):
    with store.transaction() as connection:
        connection.execute(insert(things), [dict(zip(TYPES, row, strict=True)) for row in ROWS])
        assert ALL.all(connection) == ROWS
        assert ALL.first(connection) == ROWS[0]
        assert ONE.all(connection, ref=3) == [(2.0,)]
        assert ONE.first(connection, ref=4) is None
        assert RENAME.rowcount(connection, over=1.75) == 1


def test_rows_are_inserted_in_bulk(store):
    add = BulkInsert("things", TYPES, "RETURNING ref")
    with store.transaction() as connection:
        assert add.add(connection, encoded(store)) == [(1,), (2,), (3,)]
        assert ALL.all(connection) == ROWS


def test_rows_are_updated_in_bulk(store):
    add = BulkInsert("things", TYPES, "")
    changes = ", ".join(f"{name} = given.{name}" for name in TYPES)
    change = BulkStatement(
        f"UPDATE things SET {changes} FROM {{given}} WHERE things.ref = given.ref", {"ref": "bigint", **TYPES}
    )
    with store.transaction() as connection:
        assert add.add(connection, [(0.0, True, None, "")] * 3) == []
        assert change.execute(connection, [(ref, *row) for ref, row in enumerate(encoded(store), 1)]) == []
        assert ALL.all(connection) == ROWS


def test_a_bulk_statement_may_have_another_text_for_postgresql(store):
    statement = BulkStatement(
        "SELECT 'sqlite', given.n FROM {given}",
        {"n": "integer"},
        postgresql="SELECT 'postgresql', given.n FROM {given}",
    )
    with store.read() as connection:
        assert statement.execute(connection, [(1,), (2,)]) == [(connection.dialect.name, n) for n in (1, 2)]
