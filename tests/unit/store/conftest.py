"""Each store, empty and with its tables."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Connection, make_url

from extension_kit.engine.app import Engine
from extension_kit.store.database import Database
from extension_kit.store.migrate import upgrade
from extension_kit.store.version import TABLE
from tests.databases import no_engine, opened, postgresql_database, postgresql_schema, postgresql_server


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The URL of a PostgreSQL database for these tests."""
    with postgresql_server() as server, postgresql_database(server) as url:
        yield url


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/extension.db"


@pytest.fixture
def postgresql_url(postgresql: str) -> Iterator[str]:
    with postgresql_schema(postgresql) as url:
        yield url


class UsedSchema:
    """A schema that has its tables, which one test after the other finds empty: to make them takes much longer.

    One in which a test has made, changed or removed anything but rows is not given to another.
    """

    # Whatever is changed in the catalog gets another xmin.
    _SHAPE = """
        WITH class AS (SELECT oid, xmin FROM pg_class WHERE relnamespace = current_schema()::regnamespace)
        SELECT md5(string_agg(entry, ',' ORDER BY entry)) FROM (
            SELECT 'class ' || oid || ' ' || xmin AS entry FROM class
            UNION ALL SELECT 'column ' || attrelid || ' ' || attnum || ' ' || xmin FROM pg_attribute
                WHERE attrelid IN (SELECT oid FROM class)
            UNION ALL SELECT 'trigger ' || oid || ' ' || xmin FROM pg_trigger
                WHERE tgrelid IN (SELECT oid FROM class)
            UNION ALL SELECT 'constraint ' || oid || ' ' || xmin FROM pg_constraint
                WHERE connamespace = current_schema()::regnamespace
            UNION ALL SELECT 'function ' || oid || ' ' || xmin FROM pg_proc
                WHERE pronamespace = current_schema()::regnamespace
        ) AS entries
    """
    _TABLES = """
        SELECT format('%%I', tablename) FROM pg_tables WHERE schemaname = current_schema() AND tablename <> %s
    """

    def __init__(self, postgresql: str, create_engine_tables: Callable[[Database], Callable[[Connection], None]]):
        self._postgresql = postgresql
        self._create_engine_tables = create_engine_tables
        self._stack = ExitStack()
        self._url = ""
        self._looks: tuple[object, ...] = ()

    def take(self) -> str:
        """The URL by which it appears as a database of its own."""
        if not self._url:
            self._url = self._stack.enter_context(postgresql_schema(self._postgresql))
            with opened(self._url, upgraded=False) as database:
                upgrade(database, self._create_engine_tables(database))
            with self._connect() as connection:
                self._looks = self._look(connection)
        return self._url

    def give_back(self) -> None:
        """Make it what it was."""
        with self._connect() as connection:
            if self._look(connection) == self._looks:
                connection.execute("SET lock_timeout = '20s'")
                tables = [name for (name,) in connection.execute(self._TABLES, [TABLE])]
                connection.execute(f"TRUNCATE {', '.join(tables)} RESTART IDENTITY CASCADE")
                self._looks = self._look(connection)
                return
        self.close()

    def close(self) -> None:
        self._url = ""
        self._stack.close()

    def _connect(self) -> psycopg.Connection[tuple[str, ...]]:
        url = make_url(self._url).set(drivername="postgresql").render_as_string(hide_password=False)
        return psycopg.connect(url, autocommit=True)

    def _look(self, connection: psycopg.Connection[tuple[str, ...]]) -> tuple[object, ...]:
        if not connection.execute("SELECT to_regclass(%s)", [TABLE]).fetchall()[0][0]:
            return ()
        versions = connection.execute(f"SELECT version_num FROM {TABLE}").fetchall()
        return (*connection.execute(self._SHAPE).fetchall(), *versions)


@pytest.fixture(scope="session")
def used_schemas(postgresql: str) -> Iterator[dict[bool, UsedSchema]]:
    """One without and one with the tables of the queue."""
    schemas = {
        False: UsedSchema(postgresql, lambda database: no_engine),
        True: UsedSchema(postgresql, lambda database: Engine(database).create_tables),
    }
    yield schemas
    for schema in schemas.values():
        schema.close()


@pytest.fixture
def used_postgresql_url(request: pytest.FixtureRequest, used_schemas: dict[bool, UsedSchema]) -> Iterator[str]:
    """The URL of a database that has its tables, with those of the queue where the test asks for an engine."""
    schema = used_schemas["engine" in request.fixturenames]
    yield schema.take()
    schema.give_back()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty database; of one with tables where the test asks for them, too."""
    if request.param == "postgresql" and "database" in request.fixturenames:
        return str(request.getfixturevalue("used_postgresql_url"))
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    with opened(url) as database:
        yield database


@pytest.fixture
def sqlite(sqlite_url: str) -> Iterator[Database]:
    with opened(sqlite_url) as database:
        yield database
