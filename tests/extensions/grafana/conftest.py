"""A Grafana for each test, and settings that lead to it."""

import pytest

import extensions.grafana
from tests.support.durable import database_url, postgresql_server, postgresql_url, tables
from tests.support.grafana import Grafana
from tests.support.ready_made import agent_of

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
        named = {f"EXTENSION_GRAFANA_{name}": value for name, value in settings.items()}
        return agent_of(extensions.grafana.extension, "EXTENSION_GRAFANA_", variables | named, monkeypatch)

    return make


@pytest.fixture
def agent(make_agent):
    """An in-memory agent; steps are annotated, too."""
    return make_agent(STEPS="true")
