"""The API in this process, and the requests of its tests."""

import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pytest

from extension_kit import Extension
from extension_kit.runtime.service import Service
from extension_kit.settings.kit import Settings
from extension_kit.store.database import Database
from extension_kit.web.app import create_app
from extensions import eventhos

JWT_SECRET = "a secret of the tests that signs tokens"
CRYPTO_KEY = "a secret of the tests that encrypts requests"
ADMIN = {"username": "admin", "password": "the administrator's password"}


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

    @cached_property
    def token(self) -> str:
        """The administrator's token."""
        return self.ask("POST", "/auth/login", ADMIN, status=201, headers={})["content"]["jwt_token"]

    def ask(self, method, path, body=None, *, status=200, headers=None, **query) -> Any:
        """Make a request, as the administrator unless it has headers; check its status and return its JSON."""
        sent = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        if headers is None:
            headers = {"Authorization": f"BEARER {self.token}"}
        reply = self.client.open(
            path,
            method=method,
            data=sent,
            headers=headers,
            query_string=query or None,
            content_type=None if sent is None else "application/json",
        )
        assert reply.status_code == status, reply.text
        return reply.json

    def refused(self, method, path, body=None, *, status, code, **more) -> str:
        """Make a request that is refused with a status and a code, and return the message."""
        answer = self.ask(method, path, body, status=status, **more)
        assert answer["code"] == code, answer
        assert answer.keys() >= {"message", "code", "errorUUID"}
        return answer["message"]


def serve(database: Database, *others: Extension, **variables: str) -> Service:
    """Make a service with variables of the environment, and with other extensions."""
    url = database.url.render_as_string(hide_password=False).replace("+psycopg", "")
    with pytest.MonkeyPatch.context() as patch:
        names = {
            "EXTENSION_DATABASE_URL": url,
            "EXTENSION_DELIVERY_ALLOW_NETWORKS": "127.0.0.0/8",
            "EXTENSION_EVENTHOS_JWT_SECRET": JWT_SECRET,
            "EXTENSION_EVENTHOS_CRYPTO_KEY": CRYPTO_KEY,
            "EXTENSION_EVENTHOS_ADMIN_USER": ADMIN["username"],
            "EXTENSION_EVENTHOS_ADMIN_PASSWORD": ADMIN["password"],
            **variables,
        }
        for name, value in names.items():
            patch.setenv(name, value)
        return Service.of([eventhos.extension, *others], Settings.from_environment()).open()
