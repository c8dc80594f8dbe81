"""A Grafana for each test, and settings that lead to it."""

import os

import pytest

import extensions.grafana
from extension_kit.testing.agent import InMemoryAgent
from tests.support.durable import database_url, postgresql_server, postgresql_url, tables
from tests.support.grafana import Grafana

__all__ = ["database_url", "postgresql_server", "postgresql_url", "tables"]


@pytest.fixture
def grafana():
    one = Grafana(dashboards=("uid-1",))
    one.start()
    yield one
    one.stop()


@pytest.fixture
def variables(grafana):
    """The settings of the extension."""
    return {"EXTENSION_GRAFANA_URL": grafana.url, "EXTENSION_GRAFANA_TOKEN": grafana.token}


@pytest.fixture
def make_agent(variables, monkeypatch):
    """Make an in-memory agent with settings: ``make_agent(STEPS="true")``."""

    def make(**settings):
        for name in [name for name in os.environ if name.startswith("EXTENSION_GRAFANA_")]:
            monkeypatch.delenv(name)
        named = {f"EXTENSION_GRAFANA_{name}": value for name, value in settings.items()}
        for name, value in {**variables, "EXTENSION_DELIVERY_ALLOW_NETWORKS": "127.0.0.0/8", **named}.items():
            monkeypatch.setenv(name, value)
        return InMemoryAgent(extensions.grafana.extension)

    return make


@pytest.fixture
def agent(make_agent):
    """An in-memory agent; steps are annotated, too."""
    return make_agent(STEPS="true")
