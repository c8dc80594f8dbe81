"""A Datadog for each test, and settings that lead to it."""

import os

import pytest

import extensions.datadog
from extension_kit.testing.agent import InMemoryAgent
from tests.support.datadog import Datadog
from tests.support.durable import database_url, postgresql_server, postgresql_url, tables

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
        for name in [name for name in os.environ if name.startswith("EXTENSION_DATADOG_")]:
            monkeypatch.delenv(name)
        named = {f"EXTENSION_DATADOG_{name}": value for name, value in settings.items()}
        for name, value in {**variables, "EXTENSION_DELIVERY_ALLOW_NETWORKS": "127.0.0.0/8", **named}.items():
            monkeypatch.setenv(name, value)
        return InMemoryAgent(extensions.datadog.extension)

    return make


@pytest.fixture
def agent(make_agent):
    return make_agent()
