"""How much room a database takes, and how much of it is in use."""

import random
from collections.abc import Iterator

import pytest
from sqlalchemy import delete, insert

from extension_kit.deliveries.tables import metadata, steps
from extension_kit.store.database import Database
from extension_kit.store.size import allocated_bytes, live_bytes
from tests.support.databases import opened
from tests.support.past_events import NOW

ROWS, BYTES = 100, 10_000


def sizes(database: Database) -> tuple[int, int]:
    with database.read() as connection:
        return allocated_bytes(connection, metadata), live_bytes(connection, metadata)


@pytest.fixture
def new(url: str) -> Iterator[Database]:
    """A database of which no other test has left room."""
    with opened(url) as database:
        yield database


@pytest.fixture
def filled(new: Database) -> Database:
    with new.transaction() as connection:
        for number in range(ROWS):
            body = random.Random(number).randbytes(BYTES)
            connection.execute(insert(steps).values(run="t/1", step_id=f"{number}", body=body, seen_at=NOW))
    return new


def test_rows_take_about_as_much_as_is_in_them(filled: Database) -> None:
    allocated, live = sizes(filled)

    assert ROWS * BYTES < live < ROWS * BYTES * 1.5
    assert live <= allocated < ROWS * BYTES * 2


def test_removed_rows_leave_gaps(filled: Database) -> None:
    allocated, live = sizes(filled)

    with filled.transaction() as connection:
        connection.execute(delete(steps).where(steps.c.step_id >= "5"))

    assert sizes(filled)[0] == allocated
    assert sizes(filled)[1] < live * 0.6


def test_an_empty_database_takes_next_to_nothing(new: Database) -> None:
    allocated, live = sizes(new)

    assert 0 <= live <= allocated < 350_000
