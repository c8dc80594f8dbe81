"""The stores, the queue in them, and senders to this machine."""

import pytest

from extension_kit.engine.app import Engine
from tests.unit.senders.conftest import receiver, server
from tests.unit.store.conftest import database, postgresql, postgresql_url, sqlite, sqlite_url, url

__all__ = ["database", "postgresql", "postgresql_url", "receiver", "server", "sqlite", "sqlite_url", "url"]


@pytest.fixture
def engine(database):
    """The queue of the database."""
    engine = Engine(database)
    with database.transaction() as connection:
        engine.create_tables(connection)
    return engine
