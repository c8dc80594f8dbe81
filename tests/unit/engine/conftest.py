import asyncio
import sqlite3

import pytest

from extension_kit.engine.app import Engine, Job
from extension_kit.engine.sqlite_jobs import SqliteJobs
from extension_kit.store import sqlite
from extension_kit.store.database import Database


@pytest.fixture
def engine(tmp_path):
    """The queue in a SQLite file."""
    database = Database(f"sqlite:///{tmp_path}/extension.db")
    database.create()
    engine = Engine(database)
    with database.transaction() as connection:
        engine.create_tables(connection)
    yield engine
    database.dispose()


@pytest.fixture
def add(engine):
    """Add jobs: ``add((1, "lock", None))``."""

    def add(*jobs):
        with engine.database.transaction() as connection:
            engine.defer(connection, [Job(*job) for job in jobs])

    return add


@pytest.fixture
def connection(engine):
    """The same file, by a connection of its own."""
    connection = sqlite3.connect(engine.database.path, isolation_level=None)
    yield connection
    connection.close()


@pytest.fixture
def jobs(engine):
    jobs = SqliteJobs(sqlite.connect(engine.database.path))
    yield jobs
    jobs.close()


@pytest.fixture
def run():
    """Run a coroutine, which must not take long."""

    def run(coroutine):
        return asyncio.run(asyncio.wait_for(coroutine, 20))

    return run
