"""A Datadog for each test, and settings that lead to it."""

import pytest

import extensions.datadog
from tests.support.datadog import Datadog
from tests.support.durable import database_url, postgresql_server, postgresql_url, tables
from tests.support.ready_made import agents_of, server_of

__all__ = ["database_url", "postgresql_server", "postgresql_url", "tables"]


@pytest.fixture
def datadog():
    one = Datadog()
    one.start()
    yield one
    one.stop()


@pytest.fixture
def variables(datadog):
    """The settings of the extension."""
    return {"EXTENSION_DATADOG_URL": datadog.url, "EXTENSION_DATADOG_API_KEY": datadog.key}


@pytest.fixture
def make_agent(variables, monkeypatch):
    """Make an in-memory agent with settings: ``make_agent(TAGS="env:prod")``."""
    return agents_of(extensions.datadog.extension, "EXTENSION_DATADOG_", variables, monkeypatch)


@pytest.fixture
def serve(database_url, variables, tmp_path):
    """Serve the extension: ``with serve() as server``."""
    return server_of("datadog", database_url, tmp_path, variables)


@pytest.fixture
def agent(make_agent):
    return make_agent()
