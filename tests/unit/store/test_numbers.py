"""Numbers of new rows are those that the database would give them, and no two rows get the same."""

from itertools import pairwise

import pytest
from sqlalchemy import Column, String, Table, insert, select

from extension_kit.store.numbers import new_numbers
from extension_kit.store.types import NUMBER, new_metadata

metadata = new_metadata()
stars, planets = (
    Table(
        name,
        metadata,
        Column("id", NUMBER, primary_key=True, autoincrement=True),
        Column("name", String(10)),
        sqlite_autoincrement=True,
    )
    for name in ("test_stars", "test_planets")
)


@pytest.fixture
def tables(database):
    with database.transaction() as connection:
        metadata.create_all(connection)
    return database


def add(connection, table, numbers=None):
    rows = [{"name": "new"}] if numbers is None else [{"id": number} for number in numbers]
    return list(connection.execute(insert(table).returning(table.c.id), rows).scalars())


def test_numbers_follow_those_of_the_database(tables):
    with tables.transaction() as connection:
        before = add(connection, stars)
        some, none, others = *new_numbers(connection, {stars: 3, planets: 0}), new_numbers(connection, {planets: 2})[0]
        add(connection, stars, some)
        add(connection, planets, others)
        after = add(connection, stars)
        assert (len(some), list(none), len(others)) == (3, [], 2)
        given = [*before, *some, *after]
        assert all(one < next for one, next in pairwise(given))
        assert set(connection.execute(select(stars.c.id)).scalars()) == set(given)


def test_numbers_of_removed_rows_are_not_given_again(tables):
    with tables.transaction() as connection:
        (some,) = new_numbers(connection, {stars: 3})
        add(connection, stars, some)
        connection.execute(stars.delete())
    with tables.transaction() as connection:
        (others,) = new_numbers(connection, {stars: 1})
        assert others[0] > max(some)
