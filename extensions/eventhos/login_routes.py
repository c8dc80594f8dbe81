"""Routes of logins and tokens: /auth/login, /auth/token."""

from hashlib import sha256
from hmac import compare_digest
from typing import Any

from flask import Response, request
from marshmallow import ValidationError, fields

from .access import EVERYTHING
from .answers import EventhosError, written
from .api import Api
from .body_fields import Body, text
from .clients import find_client_by_name
from .failed_logins import check_login
from .roles import roles_of

_ADMIN = 1
_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")


def _credential() -> fields.String:
    return text(1000, 1, required=True)


class _Login(Body):
    username = _credential()
    password = _credential()


class _Grant(Body):
    grant_type = _credential()
    client_id = _credential()
    client_secret = _credential()


def add_login_routes(api: Api) -> None:
    """Add the routes."""
    views = _Views(api)
    api.route("POST", "/auth/login", views.log_in)
    api.route("POST", "/auth/token", views.make_token)


class _Views:
    """The views of logins."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._login_schema = _Login()
        self._grant_schema = _Grant()
        is_documented = api.settings.profile == "documented"
        self._long_live = 400011 if is_documented else 403100
        self._unknown = 400004 if is_documented else 401100

    def log_in(self) -> Response:
        sent = self._api.body(self._login_schema, 400001)
        if not self._is_administrator(sent["username"], sent["password"]):
            raise EventhosError(401, 401001, "Incorrect user name or password")
        name = self._api.settings.admin_user
        return written(
            {
                "jwt_token": self._api.access.make_token("user", _ADMIN, name),
                "username": name,
                "name": name,
                "userId": _ADMIN,
                "roles": roles_of([EVERYTHING]),
            }
        )

    def make_token(self) -> Response:
        sent = self._grant()
        if sent["grant_type"] == "password":
            return self._token_of_administrator(sent["client_id"], sent["client_secret"])
        if sent["grant_type"] == "client_credentials":
            return self._token_of_client(sent["client_id"], sent["client_secret"])
        raise EventhosError(400, 400002, "grant_type is client_credentials or password")

    def _grant(self) -> dict[str, Any]:
        if request.mimetype not in _FORMS:
            return self._api.body(self._grant_schema, 400001)
        try:
            loaded: dict[str, Any] = self._grant_schema.load(request.form.to_dict())
        except ValidationError as error:
            names = ", ".join(sorted(error.messages_dict))
            raise EventhosError(400, 400001, f"{names}: missing, empty, too long or with U+0000") from None
        return loaded

    def _token_of_administrator(self, name: str, password: str) -> Response:
        if not self._is_administrator(name, password):
            raise self._refused(401)  # whether the name exists is not told
        return self._token("user", _ADMIN, identifier=name, name=name, description="", permissions=[EVERYTHING])

    def _token_of_client(self, client_id: str, secret: str) -> Response:
        with self._api.kit.read() as connection:
            client = find_client_by_name(connection, client_id)
        right = None if client is None else self._api.encryption.decrypt(client.secret)
        is_right = check_login(
            self._api.kit,
            "client",
            client_id,
            request.remote_addr,
            lambda: right is not None and _are_same(secret, right),
        )
        if client is None:
            raise self._refused(404)
        if not is_right:
            raise self._refused(401)
        if client.revoked:
            raise EventhosError(403, 403003, "Subject not authorized; the client has been revoked")
        if client.long_live:
            raise EventhosError(403, self._long_live, "Client can not generate short live token")
        return self._token(
            "client",
            client.id,
            identifier=client.identifier,
            name=client.name,
            description=client.description,
            permissions=client.permissions,
        )

    def _refused(self, status: int) -> EventhosError:
        return EventhosError(status, self._unknown, "Client or user not found")

    def _token(
        self, kind: str, id: int, *, identifier: str, name: str, description: str, permissions: list[str]
    ) -> Response:
        return written(
            {
                "jwt_token": self._api.access.make_token(kind, id, identifier),
                "name": name,
                "description": description,
                "client_id": id,
                "identifier": identifier,
                "roles": roles_of(permissions),
            }
        )

    def _is_administrator(self, name: str, password: str) -> bool:
        settings = self._api.settings

        def is_right() -> bool:
            is_name = _are_same(name, settings.admin_user)
            return _are_same(password, settings.admin_password) and is_name

        return check_login(self._api.kit, "user", name, request.remote_addr, is_right)


def _are_same(sent: str, right: str) -> bool:
    """Compare two texts in a time that does not depend on where they differ, or on their lengths."""
    return compare_digest(sha256(sent.encode()).digest(), sha256(right.encode()).digest())
