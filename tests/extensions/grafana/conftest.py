"""A Grafana for each test, and settings that lead to it."""

import pytest

import extensions.grafana
from tests.support.durable import database_url, postgresql_server, postgresql_url, tables
from tests.support.grafana import Grafana
from tests.support.ready_made import agents_of, server_of

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
    return agents_of(extensions.grafana.extension, "EXTENSION_GRAFANA_", variables, monkeypatch)


@pytest.fixture
def serve(database_url, variables, tmp_path):
    """Serve the extension: ``with serve() as server``."""
    return server_of("grafana", database_url, tmp_path, variables | {"EXTENSION_GRAFANA_STEPS": "true"})


@pytest.fixture
def agent(make_agent):
    """An in-memory agent; steps are annotated, too."""
    return make_agent(STEPS="true")
