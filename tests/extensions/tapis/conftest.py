"""The API in this process, on both stores; every test has a tenant of its own."""

import pytest

from extension_kit.web.app import create_app
from extensions import tapis
from tests.extensions.tapis.api import TENANTS, World, serve
from tests.support.databases import new_database


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def database(request, tmp_path_factory):
    """Each store with all tables, for all tests of this folder."""
    with new_database(request.param, tmp_path_factory.mktemp("tapis"), tapis.tables.TABLES) as database:
        yield database


@pytest.fixture(scope="session")
def service(database):
    service = serve(database, EXTENSION_TAPIS_ADMINS=",".join(f"testadmin@{tenant}" for tenant in TENANTS))
    yield service
    service.runtime.close(5)


@pytest.fixture(scope="session")
def app(service):
    """The application of all tests, which keeps nothing; each has a client of its own."""
    return create_app(service, embed_worker=False)


@pytest.fixture
def make_world(database):
    """Make the API with settings: ``make_world(EXTENSION_TAPIS_ADMINS="testadmin@dev")``."""
    services = []

    def make(**variables):
        services.append(serve(database, **variables))
        return World(database, services[-1])

    yield make
    for service in services:
        service.runtime.close(5)


@pytest.fixture
def world(database, service, app):
    """The API; the administrator of its tenant is ``testadmin``."""
    return World(database, service, app=app)


@pytest.fixture
def jobs(world):
    """The service Jobs, which acts for testuser1."""
    return world.jobs()
