"""The API in this process, and those who call it."""

import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import String, cast, func, select

from extension_kit.deliveries import subscriptions as subscription_actions
from extension_kit.deliveries.handler import Due
from extension_kit.deliveries.tables import DELIVERY_COLUMNS, deliveries, events
from extension_kit.deliveries.tables import subscriptions as kit_subscriptions
from extension_kit.runtime.service import Service
from extension_kit.settings.kit import Settings
from extension_kit.store.database import Database
from extension_kit.web.app import create_app
from extensions import tapis
from extensions.tapis.notifications import notification
from extensions.tapis.settings import TapisSettings
from tests.support.tapis_tokens import SECRET, headers_of

BASE = "/v3/notifications"
WEBHOOK = {"deliveryMethod": "WEBHOOK", "deliveryAddress": "https://receiver.example.com/hook"}
TENANTS = [f"tenant{number}" for number in range(2000)]
_tenants = iter(TENANTS)
EMAIL = {"deliveryMethod": "EMAIL", "deliveryAddress": "anna@example.com"}


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
    app: Flask | None = None

    def __post_init__(self):
        self.client = (self.app or create_app(self.service, embed_worker=False)).test_client()

    @property
    def kit(self):
        return self.service.runtime.kit

    @property
    def settings(self) -> TapisSettings:
        return self.service.protocols[0].settings

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
            select(*DELIVERY_COLUMNS, events, kit_subscriptions.c.ref.label("subscription"))
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
                    row.time, row.subject, row.series, row.place,
                )  # fmt: skip
                found.append(json.loads(notification(due, subscription_actions.get(connection, row.subscription)).body))
        return found

    def counts(self):
        return [each["event"]["seriesSeqCount"] for each in self.notifications()]


def serve(database, **variables):
    """Make a service with variables of the environment."""
    url = database.url.render_as_string(hide_password=False).replace("+psycopg", "")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"EXTENSION_TAPIS_JWT_SECRET": SECRET, **variables}.items():
            patch.setenv(name, value)
        return Service.of([tapis.extension], Settings(database_url=url)).open()


def kit_count(world):
    with world.database.read() as connection:
        query = select(func.count()).select_from(kit_subscriptions).where(kit_subscriptions.c.scope == world.tenant)
        return connection.execute(query).scalar_one()
