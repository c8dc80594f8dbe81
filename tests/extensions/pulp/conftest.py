"""The API in this process, on both stores, each test with empty tables."""

from functools import cache

import pytest

from extension_kit.protocol import hash_password
from extensions import pulp
from extensions.pulp import users
from extensions.pulp.tables import metadata
from tests.extensions.pulp.api import Api, serve
from tests.support.databases import empty, new_database


@pytest.fixture(scope="package", params=["sqlite", "postgresql"])
def shared_database(request, tmp_path_factory):
    with new_database(request.param, tmp_path_factory.mktemp("pulp"), pulp.tables.TABLES) as database:
        yield database


@pytest.fixture
def database(shared_database):
    empty(shared_database, metadata)
    return shared_database


@pytest.fixture(scope="package", autouse=True)
def hashed_once():
    """The hash of an administrator's password is a real one, made once for all tests: it takes long on purpose."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(users, "hash_password", cache(hash_password))
        yield


@pytest.fixture(scope="package")
def shared_api(shared_database):
    """The API without settings. It has no users, and keeps nothing but what is in its tables."""
    service = serve(shared_database)
    yield Api(service, shared_database)
    service.runtime.close(5)


@pytest.fixture
def make_api(database):
    """Make the API with settings: ``make_api(EXTENSION_PULP_TOKEN="secret")``."""
    services = []

    def make(*others, **variables):
        services.append(serve(database, *others, **variables))
        return Api(services[-1], database)

    yield make
    for service in services:
        service.runtime.close(5)


@pytest.fixture
def api(database, shared_api):
    """The API without settings, with empty tables: to serve it takes longer than most tests."""
    shared_api.client = shared_api.client.application.test_client()
    return shared_api
