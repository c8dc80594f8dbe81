"""The connection that is kept for the next transaction: used again, never by two, and given back."""

import select
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, text

from extension_kit.store.database import Database
from extension_kit.store.postgresql import is_gone
from tests.support.waiting import wait_until


def driver(connection: Connection) -> object:
    return connection.connection.driver_connection


def used(database: Database) -> object:
    """The driver's connection of a transaction."""
    with database.transaction() as connection:
        return driver(connection)


def test_the_next_transaction_has_the_same_connection(database: Database) -> None:
    assert used(database) is used(database)


def test_a_connection_is_never_shared(postgresql_url: str) -> None:
    database = Database(postgresql_url)
    with database.transaction() as first, database.transaction() as second:
        assert driver(first) is not driver(second)
        both = {driver(first), driver(second)}

    with database.transaction() as first, database.transaction() as second:
        assert {driver(first), driver(second)} == both
    database.dispose()


def test_after_a_failure_nothing_of_it_is_left(database: Database) -> None:
    with suppress(ZeroDivisionError), database.transaction() as connection:
        connection.execute(text("INSERT INTO series (key, last_count, last_at) VALUES ('a', 0, '2026-01-01 00:00:00')"))
        _ = 1 / 0

    with database.transaction() as connection:
        assert connection.execute(text("SELECT count(*) FROM series")).scalar() == 0


def test_a_connection_in_use_is_closed_after_dispose(database: Database) -> None:
    with database.transaction() as connection:
        mine: Any = driver(connection)
        database.dispose()
        connection.execute(text("SELECT 1"))

    with pytest.raises((sqlite3.ProgrammingError, psycopg.OperationalError), match="closed"):
        mine.execute("SELECT 1")


def test_what_a_server_says_to_an_idle_connection_is_no_end_of_it(postgresql_url: str, postgresql: str) -> None:
    database = Database(postgresql_url)
    with database.transaction() as connection:
        connection.execute(text("LISTEN spare"))
        mine = driver(connection)
    assert isinstance(mine, psycopg.Connection)
    with psycopg.connect(postgresql, autocommit=True) as other:
        other.execute("NOTIFY spare")
    wait_until(readable(mine))

    assert used(database) is mine
    database.dispose()


def readable(connection: psycopg.Connection) -> Callable[[], bool]:
    return lambda: bool(select.select([connection], [], [], 0)[0])


def test_a_closed_connection_is_gone(postgresql: str) -> None:
    connection = psycopg.connect(postgresql)
    assert not is_gone(connection)
    connection.close()
    assert is_gone(connection)
