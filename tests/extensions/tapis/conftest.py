"""The API in this process, on both stores; every test has a tenant of its own."""

import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import String, cast, select

from extension_kit.deliveries import subscriptions as kit
from extension_kit.deliveries.attempt import Due
from extension_kit.deliveries.tables import deliveries, events
from extension_kit.deliveries.tables import subscriptions as kit_subscriptions
from extension_kit.engine.app import Engine
from extension_kit.runtime.service import Service
from extension_kit.settings.kit import Settings
from extension_kit.store.database import Database
from extension_kit.store.migrate import upgrade
from extension_kit.web.app import create_app
from extensions import tapis
from extensions.tapis.notifications import notification
from extensions.tapis.settings import TapisSettings
from tests.databases import postgresql_database, postgresql_server
from tests.extensions.tapis.tokens import SECRET, headers_of

BASE = "/v3/notifications"
WEBHOOK = {"deliveryMethod": "WEBHOOK", "deliveryAddress": "https://receiver.example.com/hook"}
TENANTS = [f"tenant{number}" for number in range(2000)]
_tenants = iter(TENANTS)
EMAIL = {"deliveryMethod": "EMAIL", "deliveryAddress": "anna@example.com"}


@pytest.fixture(scope="session")
def session_postgresql_url():
    with postgresql_server() as server, postgresql_database(server) as url:
        yield url


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def database(request, tmp_path_factory):
    """Each store with all tables, for all tests of this folder."""
    url = (
        f"sqlite:///{tmp_path_factory.mktemp('tapis')}/extension.db"
        if request.param == "sqlite"
        else request.getfixturevalue("session_postgresql_url")
    )
    database = Database(url)
    upgrade(database, Engine(database).create_tables, [tapis.tables.TABLES])
    yield database
    database.dispose()


@dataclass
class Caller:
    """Somebody who calls the API."""

    client: FlaskClient
    headers: dict[str, str]

    def ask(self, method, path, body=None, *, status=200, **query):
        """Make a request, check its status and return the JSON of the answer."""
        sent = {"data": body} if isinstance(body, bytes) else {"json": body} if body is not None else {}
        reply = self.client.open(f"{BASE}{path}", method=method, headers=self.headers, query_string=query, **sent)
        assert reply.status_code == status, reply.text
        assert reply.headers["Content-Type"] == "application/json"
        assert reply.json.keys() == {"status", "message", "version", "commit", "build", "metadata", "result"}
        if status < 300:
            assert reply.json["status"] == "success"
        return reply.json

    def get(self, path, **more):
        return self.ask("GET", path, **more)

    def post(self, path, body=None, **more):
        return self.ask("POST", path, body, **more)

    def create(self, *, status=201, **more):
        """Make a subscription and return its name."""
        wanted = {"typeFilter": "jobs.job.complete", "subjectFilter": "subject_1", "deliveryTargets": [WEBHOOK]}
        answer = self.post("/subscriptions", {**wanted, **more}, status=status)
        return answer["result"]["url"].rpartition("/")[2] if status == 201 else answer

    def found(self, name, **query):
        return self.get(f"/subscriptions/byName/{name}", **query)["result"]

    def names(self, path="/subscriptions", **query):
        return [each["name"] for each in self.get(path, **query)["result"]]

    def publish(self, *, status=200, path="/events/publish", tenant=None, **more):
        event = {"source": "https://tapis.io/jobs", "type": "jobs.job.complete", "timestamp": "2024-06-12T14:03:21Z"}
        query = {"tenant": tenant} if tenant else {}
        return self.post(path, {**event, **more}, status=status, **query)


@dataclass
class World:
    """The API, its database, and those who call it."""

    database: Database
    service: Service
    tenant: str = field(default_factory=lambda: next(_tenants))

    def __post_init__(self):
        self.client = create_app(self.service, embed_worker=False).test_client()

    @property
    def host(self):
        return self.service.durability.host

    @property
    def settings(self) -> TapisSettings:
        return self.service.protocols[0][1]

    def user(self, name="testuser1", tenant=None):
        return Caller(self.client, headers_of(name, tenant or self.tenant))

    def jobs(self, user="testuser1", service="jobs", tenant=None):
        """The service Jobs, which acts for a user."""
        return Caller(self.client, headers_of(user, tenant or self.tenant, service=service))

    def nobody(self):
        return Caller(self.client, {})

    def notifications(self, tenant=None) -> list[dict[str, Any]]:
        """What is to be delivered to the subscriptions of a tenant, oldest first, as receivers get it."""
        query = (
            select(deliveries, events, kit_subscriptions.c.ref.label("subscription"))
            .join(events, deliveries.c.event_ref == events.c.ref)
            .join(kit_subscriptions, deliveries.c.listener == "subscription:" + cast(kit_subscriptions.c.ref, String))
            .where(kit_subscriptions.c.scope == (tenant or self.tenant))
            .order_by(deliveries.c.ref)
        )
        found = []
        with self.database.read() as connection:
            for row in connection.execute(query):
                due = Due(
                    row.ref, 1, 0, row.listener, row.created_at, row.name, row.event_id, row.body, row.source,
                    row.time, row.subject, row.series, row.count,
                )  # fmt: skip
                found.append(json.loads(notification(due, kit.get(connection, row.subscription)).body))
        return found

    def counts(self):
        return [each["event"]["seriesSeqCount"] for each in self.notifications()]


def serve(database, **variables):
    """Make a service with variables of the environment."""
    url = database.url.render_as_string(hide_password=False).replace("+psycopg", "")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"EXTENSION_TAPIS_JWT_SECRET": SECRET, **variables}.items():
            patch.setenv(name, value)
        return Service.of([tapis.extension], Settings(database_url=url))


@pytest.fixture(scope="session")
def service(database):
    service = serve(database, EXTENSION_TAPIS_ADMINS=",".join(f"testadmin@{tenant}" for tenant in TENANTS))
    yield service
    service.durability.close(5)


@pytest.fixture
def make_world(database):
    """Make the API with settings: ``make_world(EXTENSION_TAPIS_ADMINS="testadmin@dev")``."""
    services = []

    def make(**variables):
        services.append(serve(database, **variables))
        return World(database, services[-1])

    yield make
    for service in services:
        service.durability.close(5)


@pytest.fixture
def world(database, service):
    """The API; the administrator of its tenant is ``testadmin``."""
    return World(database, service)


@pytest.fixture
def jobs(world):
    """The service Jobs, which acts for testuser1."""
    return world.jobs()
