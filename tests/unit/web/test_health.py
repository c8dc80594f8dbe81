"""Readiness beside the listeners, where no health port speaks for a process: not ready is who refuses events."""

import pytest
from sqlalchemy import text

from extension_kit import Extension
from extension_kit.deliveries.inbox import Inbox
from extension_kit.runtime.service import Service
from extension_kit.settings.kit import Settings
from extension_kit.web.app import create_app
from tests.support.waiting import wait_until


@pytest.fixture
def service(tmp_path):
    extension = Extension("extension-oncall")
    extension.listen_to("*")(print)
    made = Service.of([extension], Settings(database_url=f"sqlite:///{tmp_path}/extension.db")).open()
    yield made
    made.runtime.close(5)


def test_it_is_that_of_the_inbox(service):
    inbox = Inbox(service.runtime.database)
    client = create_app(service, embed_worker=False).test_client()
    assert client.get("/health/readiness").status_code == 200
    with inbox.database.transaction() as connection:
        connection.execute(text("ALTER TABLE inbox RENAME TO elsewhere"))
    wait_until(lambda: client.get("/health/readiness").status_code == 503)
    assert client.get("/health/liveness").status_code == 200
    with inbox.database.transaction() as connection:
        connection.execute(text("ALTER TABLE elsewhere RENAME TO inbox"))
    wait_until(lambda: client.get("/health/readiness").status_code == 200)
