"""Clients of Pulp's API as its users have them: its Python bindings, the commands of pulp-admin, and Runcible's."""

import base64
import http.client
import json
from dataclasses import dataclass
from typing import Any

PREFIX = "/pulp/api/"


class RequestError(Exception):
    """An error that the bindings raise. They take the document apart with ``pop``."""

    def __init__(self, document: dict[str, Any]) -> None:
        super().__init__(document["error_message"])
        self.href = document.pop("_href", None)
        self.http_request_method = document.pop("http_request_method", None)
        self.http_status = document.pop("http_status", None)
        self.error_message = document.pop("error_message", None)
        self.exception = document.pop("exception", None)
        self.traceback = document.pop("traceback", None)
        self.extra_data = document


class BadRequestError(RequestError):
    pass


class PermissionsError(RequestError):
    pass


class NotFoundError(RequestError):
    pass


class ConflictError(RequestError):
    pass


class PulpServerError(RequestError):
    pass


class ApacheServerError(Exception):
    """An answer without a document."""


_ERRORS = {400: BadRequestError, 401: PermissionsError, 404: NotFoundError, 409: ConflictError}


@dataclass
class Answer:
    response_code: int
    response_body: Any


@dataclass
class Connection:
    """What the bindings send through: JSON there and back, and an exception for each status from 300 on."""

    port: int
    username: str
    password: str

    def request(self, method: str, path: str, body: Any = None) -> Answer:
        credentials = base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
        headers = {
            "Accept": "application/json",
            "Content-Type": "application/json",
            "Authorization": f"Basic {credentials}",
        }
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, PREFIX + path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            status, content = response.status, response.read().decode()
        finally:
            connection.close()
        try:
            parsed = json.loads(content)
        except ValueError:
            parsed = content
        if status >= 300:
            if not isinstance(parsed, dict):
                raise ApacheServerError(status, parsed)
            raise _ERRORS.get(status, PulpServerError)(parsed)
        return Answer(status, parsed)


@dataclass
class Bindings:
    """The event listeners of the bindings."""

    connection: Connection
    path = "v2/events/"

    def list(self) -> Any:
        return self.connection.request("GET", self.path).response_body

    def create(self, notifier_type_id, notifier_config, event_types) -> Any:
        body = {
            "notifier_type_id": notifier_type_id,
            "notifier_config": notifier_config,
            "event_types": event_types,
        }
        return self.connection.request("POST", self.path, body).response_body

    def update(self, event_listener_id, notifier_config=None, event_types=None) -> Answer:
        body = {}
        if notifier_config is not None:
            body["notifier_config"] = notifier_config
        if event_types is not None:
            body["event_types"] = event_types
        return self.connection.request("PUT", f"{self.path}{event_listener_id}/", body)

    def delete(self, event_listener_id) -> Answer:
        return self.connection.request("DELETE", f"{self.path}{event_listener_id}/")


@dataclass
class PulpAdmin:
    """The commands ``event listener http|email|amqp create|update``, ``list`` and ``delete``."""

    bindings: Bindings

    def create(self, notifier, event_types, **options) -> str:
        return self.bindings.create(notifier, self._config(options), event_types)["id"]

    def update(self, listener_id, event_types=None, **options) -> bool:
        config = self._config(options)
        if not config and not event_types:
            return False  # a failure is printed, and nothing is sent
        self.bindings.update(listener_id, config or None, event_types)
        return True

    def list(self) -> list[dict[str, Any]]:
        """What is printed of each."""
        printed = ("event_types", "id", "notifier_config", "notifier_type_id")
        return [{key: listener[key] for key in printed} for listener in self.bindings.list()]

    def delete(self, listener_id) -> None:
        self.bindings.delete(listener_id)

    @staticmethod
    def _config(options) -> dict[str, Any]:
        given = {key: value for key, value in options.items() if value is not None}
        if "addresses" in given:
            given["addresses"] = given["addresses"].split(",")
        return given


@dataclass
class Runcible:
    """What Katello calls: compact JSON, and nothing but the expected status counts."""

    port: int
    username: str
    password: str

    def create(self, notifier_type, notifier_config, event_types) -> Any:
        body = {"notifier_type_id": notifier_type, "notifier_config": notifier_config, "event_types": event_types}
        return self._call("POST", "events/", 201, body)

    def list(self) -> Any:
        return self._call("GET", "events/", 200)

    def delete(self, listener_id) -> Any:
        return self._call("DELETE", f"events/{listener_id}/", 200)

    def _call(self, method, path, status, body=None) -> Any:
        credentials = base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
        headers = {
            "accept": "application/json",
            "content-type": "application/json",
            "authorization": f"Basic {credentials}",
        }
        sent = None if body is None else json.dumps(body, separators=(",", ":"))
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, f"{PREFIX}v2/{path}", sent, headers)
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        assert response.status == status, content
        return json.loads(content)
