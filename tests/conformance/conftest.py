"""Both stores, real ones: a SQLite file, and a database of its own in PostgreSQL."""

import os
from contextlib import contextmanager

import pytest

from extension_kit.engine.app import Engine
from extension_kit.store.database import Database
from extension_kit.store.migrate import upgrade
from tests.conformance.postgresql import PostgresqlServer
from tests.conftest import BIN, run_server
from tests.databases import postgresql_database

KIT = str(BIN / "extension-kit")


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
def own_postgresql():
    """A server for one test, which may stop and start it."""
    server = PostgresqlServer()
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture
def postgresql_url(postgresql_server):
    """The URL of an empty database, dropped afterwards."""
    with postgresql_database(postgresql_server) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request, tmp_path):
    """The URL of an empty database on each store."""
    return (
        f"sqlite:///{tmp_path}/extension.db" if request.param == "sqlite" else request.getfixturevalue("postgresql_url")
    )


@pytest.fixture
def ledger(tmp_path):
    """The file in which the functions of tests/apps write down their runs."""
    path = tmp_path / "ledger"
    path.touch()
    return path


@pytest.fixture
def environment(database_url, ledger):
    """What the processes of a test are started with; the database is ready to be used."""
    return prepared(database_url, ledger)


def prepared(database_url, ledger):
    """Bring a database up to date, and return the environment of processes that use it."""
    upgraded(database_url)
    return {"EXTENSION_DATABASE_URL": database_url, "LEDGER": ledger, "EXTENSION_STALLED_AFTER": 2}


def upgraded(database_url, extensions=()):
    """Make the tables in PostgreSQL; those of a SQLite database are left to the first process that uses it."""
    if database_url.startswith("postgresql"):
        database = Database(database_url)
        try:
            upgrade(database, Engine(database).create_tables, extensions)
        finally:
            database.dispose()


@contextmanager
def store_of(request, directory):
    """The URL of an empty database on the store that a fixture has as its parameter, as long as the fixture lasts."""
    if request.param == "sqlite":
        yield f"sqlite:///{directory}/extension.db"
        return
    with postgresql_database(request.getfixturevalue("postgresql_server")) as url:
        yield url


@pytest.fixture
def serve(tmp_path, environment):
    """Serve an extension of tests/apps: ``with serve("--no-worker", SLOW=1) as server``."""
    numbers = iter(range(100))

    def serve(*arguments, app="ledger.py", **more):
        log = tmp_path / f"server-{next(numbers)}.log"
        return run_server([KIT, "serve", app, *arguments], log, **{**environment, **more})

    return serve


@pytest.fixture
def work(tmp_path, environment):
    """Start a worker of its own for an extension of tests/apps."""
    numbers = iter(range(100))

    def work(*, app="ledger.py", **more):
        log = tmp_path / f"worker-{next(numbers)}.log"
        return run_server([KIT, "worker", app], log, **{**environment, **more})

    return work
