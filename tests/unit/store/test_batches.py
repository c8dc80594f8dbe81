"""Long lists are cut, and rows are deleted in transactions between which others can write."""

import threading
from contextlib import contextmanager

import pytest
from sqlalchemy import Column, Integer, String, Table, exists, func, insert, select, text, update

from extension_kit.store.batches import batches, delete_in_batches
from extension_kit.store.types import new_metadata
from tests.support.waiting import wait_until

metadata = new_metadata()
rings = Table(
    "rings",
    metadata,
    Column("door", String(20), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("age", Integer, nullable=False),
)
doors = Table("doors", metadata, Column("name", String(20), primary_key=True))


@pytest.fixture
def filled(database):
    with database.transaction() as connection:
        metadata.create_all(connection)
        connection.execute(insert(doors), [{"name": name} for name in ("front", "back", "cellar")])
        connection.execute(
            insert(rings),
            [{"door": door, "number": number, "age": number} for door in ("front", "back") for number in range(10)],
        )
    return database


class Watched:
    """A database that counts transactions, and does something before each of them."""

    def __init__(self, database, before=lambda: None):
        self._database = database
        self._before = before
        self.transactions = 0

    @contextmanager
    def transaction(self):
        self._before()
        self.transactions += 1
        with self._database.transaction() as connection:
            yield connection


def count(database, table=rings):
    with database.read() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


@pytest.mark.parametrize(("number", "sizes"), [(0, []), (1, [1]), (500, [500]), (1001, [500, 500, 1])])
def test_lists_are_cut(number, sizes):
    cut = list(batches(range(number)))
    assert [len(batch) for batch in cut] == sizes
    assert [value for batch in cut for value in batch] == list(range(number))


def test_rows_are_deleted_a_few_at_a_time(filled):
    watched = Watched(filled)
    assert delete_in_batches(watched, rings, rings.c.age >= 3, size=5) == 14
    assert watched.transactions == 4  # the last of them finds none
    assert count(filled) == 6


def test_others_write_in_between(filled):
    def add():
        with filled.transaction() as connection:
            number = connection.execute(select(func.max(rings.c.number))).scalar_one() + 1
            connection.execute(insert(rings).values(door="front", number=number, age=0))

    assert delete_in_batches(Watched(filled, add), rings, rings.c.age >= 3, size=5) == 14
    assert count(filled) == 6 + 4


def test_rows_of_other_tables_decide(filled):
    never_rung = ~exists().where(rings.c.door == doors.c.name)
    assert delete_in_batches(filled, doors, never_rung) == 1
    assert delete_in_batches(filled, doors, never_rung) == 0
    assert count(filled, doors) == 2


def test_a_row_that_changes_meanwhile_stays(filled):
    if filled.is_sqlite:
        pytest.skip("SQLite has one writer at a time")
    deleted = []
    deletion = threading.Thread(target=lambda: deleted.append(delete_in_batches(filled, rings, rings.c.age >= 9)))
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        " AND query LIKE 'DELETE FROM rings%'"
    )

    def is_waiting():
        with filled.read() as connection:
            return connection.execute(waiting).scalar_one()

    with filled.transaction() as connection:
        connection.execute(update(rings).where(rings.c.number == 9, rings.c.door == "front").values(age=0))
        deletion.start()
        wait_until(is_waiting)
    deletion.join()
    assert deleted == [1]
