"""Fixtures of the stores: each empty, and with its tables."""

from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from extension_kit.deliveries.inbox import Inbox
from extension_kit.store.database import Database
from extension_kit.store.migrate import upgrade
from tests.support.databases import opened, postgresql_schema, postgresql_server
from tests.support.made import make_sqlite
from tests.support.used import Made, as_made, connect, look, postgresql_database


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
    """A schema that has its tables, which one test after the other finds empty."""

    def __init__(self, postgresql: str) -> None:
        self._postgresql = postgresql
        self._stack = ExitStack()
        self._url = ""
        self._made = Made([])

    def take(self) -> str:
        """The URL by which it appears as a database of its own."""
        if not self._url:
            self._url = self._stack.enter_context(postgresql_schema(self._postgresql))
            with opened(self._url, upgraded=False) as database:
                upgrade(database)
            with connect(self._url) as connection:
                self._made = look(connection)
        return self._url

    def give_back(self) -> None:
        """Make it what it was."""
        with connect(self._url) as connection:
            if as_made(connection, self._made):
                return
        self.close()

    def close(self) -> None:
        self._url = ""
        self._stack.close()


@pytest.fixture(scope="session")
def used_schema(postgresql: str) -> Iterator[UsedSchema]:
    schema = UsedSchema(postgresql)
    yield schema
    schema.close()


@pytest.fixture
def used_postgresql_url(used_schema: UsedSchema) -> Iterator[str]:
    """The URL of a database that has its tables."""
    yield used_schema.take()
    used_schema.give_back()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty database; of one with tables where the test asks for them, too."""
    if request.param == "postgresql" and "database" in request.fixturenames:
        return str(request.getfixturevalue("used_postgresql_url"))
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    if url.startswith("sqlite"):
        make_sqlite(url)
    with opened(url) as database:
        yield database


@pytest.fixture
def inbox(database: Database) -> Iterator[Inbox]:
    with closing(Inbox(database)) as inbox:
        inbox.prepare()
        yield inbox


@pytest.fixture
def sqlite(sqlite_url: str) -> Iterator[Database]:
    with opened(sqlite_url) as database:
        yield database
