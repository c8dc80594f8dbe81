"""Databases for processes that serve durable listeners, on both stores, and what is in them."""

import os
import sqlite3
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest

from extension_kit.store.database import Database
from extension_kit.store.migrate import upgrade
from tests.support.made import make_sqlite
from tests.support.postgresql import PostgresqlServer
from tests.support.used import postgresql_database


@pytest.fixture(scope="session")
def postgresql_server():
    """The URL of a server: TEST_POSTGRESQL_URL, else one that is started once for all tests."""
    if url := os.environ.get("TEST_POSTGRESQL_URL"):
        yield url
        return
    server = PostgresqlServer()
    try:
        server.start()
        yield server.url
    finally:
        server.remove()


@pytest.fixture
def tables():
    """Tables of extensions, beside the kit's, that a database has; None: it is empty."""


@pytest.fixture
def postgresql_url(postgresql_server, tables):
    """The URL of a database without rows."""
    with postgresql_database(postgresql_server, tables) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request, tmp_path, tables):
    """The URL of a database without rows on each store; without tables, the file of SQLite does not exist yet."""
    if request.param == "postgresql":
        return request.getfixturevalue("postgresql_url")
    url = f"sqlite:///{tmp_path}/extension.db"
    if tables is not None:
        make_sqlite(url, tables)
    return url


def prepared(database_url, ledger):
    """Make the tables of a database, and return the environment of processes that use it."""
    if database_url.startswith("sqlite"):
        make_sqlite(database_url)
    else:
        database = Database(database_url)
        try:
            upgrade(database)
        finally:
            database.dispose()
    return {"EXTENSION_DATABASE_URL": database_url, "LEDGER": ledger, "EXTENSION_STALLED_AFTER": 2}


@contextmanager
def store_of(request, directory, tables=None):
    """The URL of a database without rows on the store that a fixture has as its parameter, while the fixture lasts.

    It has the tables of the kit and of extensions; with None it is empty.
    """
    if request.param == "sqlite":
        url = f"sqlite:///{directory}/extension.db"
        if tables is not None:
            make_sqlite(url, tables)
        yield url
        return
    with postgresql_database(request.getfixturevalue("postgresql_server"), tables) as url:
        yield url


_DELIVERIES = "SELECT status, count(*) FROM deliveries GROUP BY status"
_UNFILED = "SELECT 'unfiled', number FROM (SELECT sum(events) AS number FROM inbox) AS counted WHERE number > 0"


def statuses(database_url):
    """How many deliveries there are of each status, and as ``unfiled`` how many accepted events have none yet.

    On SQLite an event that is being filed may be in both numbers for a moment, but never in neither.
    """
    if database_url.startswith("sqlite"):  # the inbox first: an event leaves it after its deliveries were committed
        return dict(_unfiled_rows(f"{database_url}-inbox") + _rows(database_url, _DELIVERIES))
    return dict(_rows(database_url, f"{_DELIVERIES} UNION ALL {_UNFILED}"))


def unfiled_at(database_url):
    """How many accepted events are not filed."""
    return statuses(database_url).get("unfiled", 0)


def _unfiled_rows(inbox_url):
    """Read the number of events in the file of an inbox, which may not be there, or have no table yet."""
    if not Path(inbox_url.removeprefix("sqlite:///")).exists():
        return []
    has_table = _rows(inbox_url, "SELECT 1 FROM sqlite_master WHERE name = 'inbox'")
    return _rows(inbox_url, _UNFILED) if has_table else []


class Delivery(NamedTuple):
    event_id: str
    listener: str
    status: str


def all_deliveries(database_url):
    """The deliveries in a database."""
    joined = "FROM deliveries JOIN events ON events.ref = deliveries.event_ref"
    return [Delivery(*row) for row in _rows(database_url, f"SELECT event_id, listener, status {joined}")]


class Attempt(NamedTuple):
    event_id: str
    result: str
    ended_at: datetime


def all_attempts(database_url):
    """The attempts of deliveries in a database, in the order in which they were written down."""
    joined = "FROM attempts a JOIN deliveries d ON d.ref = a.delivery_ref JOIN events e ON e.ref = d.event_ref"
    rows = _rows(database_url, f"SELECT e.event_id, a.result, a.ended_at {joined} ORDER BY a.ref")
    return [Attempt(event_id, result, _in_utc(ended_at)) for event_id, result, ended_at in rows]


def _in_utc(time):
    """A time as drivers return it: of PostgreSQL aware, of SQLite a text."""
    return datetime.fromisoformat(f"{time}+00:00") if isinstance(time, str) else time


def _rows(database_url, statement):
    if database_url.startswith("sqlite"):
        with closing(sqlite3.connect(database_url.removeprefix("sqlite:///"))) as connection:
            return connection.execute(statement).fetchall()
    with psycopg.connect(database_url) as connection:
        return connection.execute(statement).fetchall()
