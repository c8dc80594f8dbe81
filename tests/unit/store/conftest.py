"""Each store, empty and with its tables."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from extension_kit.store.database import Database
from tests.databases import opened, postgresql_database, postgresql_schema, postgresql_server


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


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty database."""
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    with opened(url) as database:
        yield database


@pytest.fixture
def sqlite(sqlite_url: str) -> Iterator[Database]:
    with opened(sqlite_url) as database:
        yield database
