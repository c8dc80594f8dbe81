"""An embedded worker: it ends before the connections that it uses are closed."""

import threading

import pytest

from extension_kit import Extension
from extension_kit.runtime.service import Service
from extension_kit.settings.kit import Settings
from extension_kit.web.app import create_app
from tests.support.waiting import wait_until


@pytest.fixture
def may_end():
    return threading.Event()


@pytest.fixture
def begun():
    return threading.Event()


@pytest.fixture
def handled():
    return []


@pytest.fixture
def service(database, url, begun, may_end, handled):
    extension = Extension("embedded")

    @extension.listen_to("*", path="/events/all")
    def handle(event) -> None:
        begun.set()
        may_end.wait(30)
        handled.append(event.id)

    service = Service.of([extension], Settings(database_url=url)).open()
    yield service
    may_end.set()
    service.runtime.close(30)


def running():
    return [thread for thread in threading.enumerate() if thread.name == "deliveries"]


def test_close_waits_for_its_end(service, may_end):
    may_end.set()
    service.runtime.embed_worker()
    assert running()
    service.runtime.close(30)
    assert not running()


def test_a_worker_that_goes_on_after_close_keeps_its_connection(service, database, event, begun, may_end, handled):
    client = create_app(service).test_client()
    assert client.post("/events/all", json=event("killswitch.engaged", id="one")).status_code == 200
    assert begun.wait(30)
    service.runtime.close(0.1)
    assert running()
    may_end.set()
    wait_until(lambda: not running())
    assert handled == ["one"]
    with database.read() as connection:
        assert connection.exec_driver_sql("SELECT status FROM deliveries").scalar_one() == "delivered"


def test_a_service_without_one_is_closed_at_once(service):
    service.runtime.close(30)
    assert not running()
