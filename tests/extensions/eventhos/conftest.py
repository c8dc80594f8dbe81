"""The API in this process, on both stores, each test with empty tables."""

import threading
from contextlib import contextmanager

import pytest

from extensions import eventhos
from extensions.eventhos.tables import metadata
from tests.extensions.eventhos.api import Api, serve
from tests.extensions.eventhos.applying import Apply
from tests.extensions.eventhos.making import World
from tests.support.databases import empty, new_database
from tests.support.receivers import receiver  # noqa: F401


@pytest.fixture(scope="package", params=["sqlite", "postgresql"])
def shared_database(request, tmp_path_factory):
    with new_database(request.param, tmp_path_factory.mktemp("eventhos"), eventhos.tables.TABLES) as database:
        yield database


@pytest.fixture
def database(shared_database):
    empty(shared_database, metadata)
    return shared_database


@pytest.fixture(scope="package")
def shared_apis(shared_database):
    """Make the API with settings, once: it keeps nothing but what is in its tables, and takes long to serve."""
    made = {}

    def find(**variables):
        key = tuple(sorted(variables.items()))
        if key not in made:
            made[key] = Api(serve(shared_database, **variables), shared_database)
        made[key].client = made[key].client.application.test_client()
        return made[key]

    yield find
    for api in made.values():
        api.service.runtime.close(5)


@pytest.fixture
def make_api(database):
    """Make the API with settings: ``make_api(EXTENSION_EVENTHOS_PROFILE="upstream")``."""
    services = []

    def make(*others, **variables):
        services.append(serve(database, *others, **variables))
        return Api(services[-1], database)

    yield make
    for service in services:
        service.runtime.close(5)


@pytest.fixture
def api(database, shared_apis):
    """The API with an administrator, with empty tables."""
    return shared_apis()


@pytest.fixture(params=["documented", "upstream"])
def profile(request):
    """Each value of EXTENSION_EVENTHOS_PROFILE."""
    return request.param


@pytest.fixture
def world(api):
    """A producer with a key and an event."""
    return World(api)


@pytest.fixture
def working():
    """Run a worker of an API in a thread: ``with working(api): ...``."""

    @contextmanager
    def run(api):
        worker = api.service.runtime.worker("tests")
        thread = threading.Thread(target=worker.run)
        thread.start()
        try:
            yield
        finally:
            worker.stop()
            thread.join(20)
            assert not thread.is_alive()

    return run


@pytest.fixture
def apply(database, tmp_path):
    """The command that makes and changes systems from a file."""
    return Apply(database, tmp_path)
