"""The API in this process, and the requests of its tests."""

import base64
import json
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import select

from extension_kit import Extension
from extension_kit.deliveries.tables import WAITING, deliveries, events, subscriptions
from extension_kit.runtime.service import Service
from extension_kit.settings.kit import Settings
from extension_kit.store.database import Database
from extension_kit.web.app import create_app
from extensions import pulp
from tests.support.driving import make_attempt

SECRET = "a secret of the tests, which is long enough"
EVENTS = "/v2/events/"
HTTP = {
    "notifier_type_id": "http",
    "notifier_config": {"url": "http://localhost/api"},
    "event_types": ["repo.sync.finish", "repo.publish.finish"],
}
UNKNOWN = "4ff708048a905b7016000008"
DOCUMENT_KEYS = {"_href", "_id", "_ns", "event_types", "id", "notifier_config", "notifier_type_id"}


def basic(name: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


@dataclass
class Api:
    """The API, and a look into its tables."""

    service: Service
    database: Database

    def __post_init__(self):
        self.client = create_app(self.service, embed_worker=False).test_client()

    @property
    def kit(self):
        return self.service.runtime.kit

    def ask(self, method, path=EVENTS, body=None, *, status=200, headers=None, **query) -> Any:
        """Make a request, check its status and return the JSON of the answer."""
        sent = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        reply = self.client.open(path, method=method, data=sent, headers=headers or {}, query_string=query or None)
        assert reply.status_code == status, reply.text
        assert reply.headers["Content-Type"] == "application/json; charset=utf-8"
        assert reply.text == json.dumps(reply.json)
        return reply.json

    def create(self, **changed) -> dict[str, Any]:
        return self.ask("POST", body={**HTTP, **changed}, status=201)

    def one(self, id: str) -> str:
        return f"{EVENTS}{id}/"

    def notify(self, event_type="repo.sync.start", payload=None, call_report=None, **more):
        body = {"event_type": event_type, "payload": payload or {"repo_id": "zoo"}, "call_report": call_report}
        return self.ask("POST", "/pulp/notifications", body, **more)

    def deliveries(self) -> list[Any]:
        """Return the deliveries with their events and the group of their subscription, oldest first."""
        with self.database.read() as connection:
            groups = {
                f"subscription:{row.ref}": row.group
                for row in connection.execute(select(subscriptions.c.ref, subscriptions.c.group))
            }
            query = select(deliveries, events).join(events, deliveries.c.event_ref == events.c.ref)
            rows = connection.execute(query.order_by(deliveries.c.ref)).all()
        return [(groups.get(row.listener), row) for row in rows]


class Worker:
    """Makes attempts as a worker does, one after the other."""

    def __init__(self, api: Api):
        runtime = api.service.runtime
        self._database = api.database
        self._find = runtime._workers.find_handler()

    def attempt(self) -> list[Any]:
        """Make an attempt of every waiting delivery, due or not; return these deliveries, oldest first."""
        query = select(deliveries.c.ref).where(deliveries.c.status == WAITING).order_by(deliveries.c.ref)
        with self._database.read() as connection:
            refs = connection.execute(query).scalars().all()
        for ref in refs:
            make_attempt(self._database, self._find, ref)
        query = select(deliveries).where(deliveries.c.ref.in_(refs)).order_by(deliveries.c.ref)
        with self._database.read() as connection:
            return list(connection.execute(query).all())


def serve(database: Database, *others: Extension, **variables: str) -> Service:
    """Make a service with variables of the environment, and with other extensions."""
    url = database.url.render_as_string(hide_password=False).replace("+psycopg", "")
    with pytest.MonkeyPatch.context() as patch:
        names = {"EXTENSION_DATABASE_URL": url, "EXTENSION_PULP_SECRET": SECRET, **variables}
        for name, value in names.items():
            patch.setenv(name, value)
        return Service.of([pulp.extension, *others], Settings.from_environment()).open()
