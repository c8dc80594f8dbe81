"""A Datadog for each test, and settings that lead to it."""

import pytest

import extensions.datadog
from tests.support.datadog import Datadog
from tests.support.durable import database_url, postgresql_server, postgresql_url, tables
from tests.support.ready_made import agent_of

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

    def make(**settings):
        named = {f"EXTENSION_DATADOG_{name}": value for name, value in settings.items()}
        return agent_of(extensions.datadog.extension, "EXTENSION_DATADOG_", variables | named, monkeypatch)

    return make


@pytest.fixture
def agent(make_agent):
    return make_agent()
