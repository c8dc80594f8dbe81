"""CronEye's API in this process, on both stores, and what is in the tables after a request."""

import pytest

from extension_kit.runtime.service import Service
from extension_kit.settings.kit import Settings
from extension_kit.web import passwords
from extensions.croneye import extension
from extensions.croneye.tables import TABLES
from tests.extensions.croneye.api import VARIABLES, Api
from tests.support.databases import new_database


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def session_api(request, tmp_path_factory):
    with new_database(request.param, tmp_path_factory.mktemp("croneye"), TABLES) as database:
        url = database.url.render_as_string(hide_password=False)
        with pytest.MonkeyPatch.context() as patch:
            for name, value in VARIABLES.items():
                patch.setenv(name, value)
            service = Service.of([extension], Settings(database_url=url, max_body_bytes=100_000)).open()
        yield Api(service, database)
        service.runtime.close(5)


@pytest.fixture
def quick_hashes(monkeypatch):
    """Hashes of passwords are real ones, made in less than a hundredth of the usual time."""
    monkeypatch.setattr(passwords, "_METHOD", "scrypt:256:8:1")


@pytest.fixture
def api(session_api, quick_hashes):
    """The API with empty tables."""
    session_api.clear()
    session_api.client = session_api.app.test_client()
    return session_api
