"""The stores, the queue in them, and senders to this machine."""

import pytest

from extension_kit.engine.app import Engine
from tests.unit.senders.conftest import receiver, server
from tests.unit.store.conftest import (
    database,
    postgresql,
    postgresql_url,
    sqlite,
    sqlite_url,
    url,
    used_postgresql_url,
    used_schemas,
)

__all__ = [
    "database",
    "postgresql",
    "postgresql_url",
    "receiver",
    "server",
    "sqlite",
    "sqlite_url",
    "url",
    "used_postgresql_url",
    "used_schemas",
]


@pytest.fixture
def engine(database):
    """The queue of the database."""
    engine = Engine(database)
    if database.is_sqlite:  # in PostgreSQL they are there already
        with database.transaction() as connection:
            engine.create_tables(connection)
    return engine
