"""Routes of clients, their keys and roles: /auth/client, /auth/role."""

from datetime import UTC, datetime, timedelta
from typing import Any

from flask import Response, request
from marshmallow import fields, validate
from sqlalchemy import select

from .answers import EventhosError, answer, written
from .api import Api
from .body_fields import Body, BoundedList, text
from .clients import COLUMNS, add_client, change_client, find_client, select_clients, shown_client
from .keys import COLUMNS as COLUMNS_OF_KEYS
from .keys import add_key, revoke_keys, shown_key
from .paging import Paging, page
from .roles import all_roles, permissions_of
from .tables import keys

_MOST_DAYS = 3650
_MOST_ROLES = 100
_MALFORMED = 400001


class _RoleOfClient(Body):
    id = fields.Integer(required=True, strict=True)


class _Change(Body):
    name = text(100, 1)
    description = text(10_000)
    roles = BoundedList(fields.Nested(_RoleOfClient), _MOST_ROLES)


class _NewClient(_Change):
    identifier = text(100, 1, required=True)
    name = text(100, 1, required=True)


class _LongLive(Body):
    longLive = fields.Boolean(required=True, truthy={True}, falsy={False})  # noqa: N815 (as in the body)
    expiresInDays = fields.Integer(strict=True, validate=validate.Range(1, _MOST_DAYS))  # noqa: N815


class _Revocation(Body):
    revoke = fields.Boolean(load_default=True, truthy={True}, falsy={False})


def add_client_routes(api: Api) -> None:
    """Add the routes."""
    views = _Views(api)
    api.route("GET", "/auth/role", views.roles, "OAUTH2_role:select")
    api.route("POST", "/auth/client", views.create, "OAUTH2_client:create")
    api.route("GET", "/auth/client", views.list_all, "OAUTH2_client:select")
    api.route("GET", "/auth/client/{id}", views.get, "OAUTH2_client:select")
    api.route("GET", "/auth/client/{id}/secret", views.secret, "OAUTH2_client:select")
    api.route("PUT", "/auth/client/{id}", views.change, "OAUTH2_client:update")
    api.route("DELETE", "/auth/client/{id}", views.delete, "OAUTH2_client:delete")
    api.route("PUT", "/auth/client/{id}/long-live", views.set_long_live, "OAUTH2_client:update")
    api.route("GET", "/auth/client/{id}/keys", views.keys, "OAUTH2_client:select")
    api.route("DELETE", "/auth/client/{id}/keys/{key_id}", views.revoke_key, "OAUTH2_client:update")
    api.route("PUT", "/auth/client/{id}/revoke", views.revoke, "OAUTH2_client:update")


class _Views:
    """The views of clients."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._new_schema = _NewClient()
        self._change_schema = _Change()
        self._long_live_schema = _LongLive()
        self._revocation_schema = _Revocation()

    def roles(self) -> Response:
        roles = all_roles()
        number = len(roles)
        paging = {"pageIndex": 0, "itemsPerPage": number, "totalItems": number, "totalPages": 1}
        return answer({"items": roles, **paging})

    def create(self) -> Response:
        values = _columns({"description": "", "roles": [], **self._api.body(self._new_schema, _MALFORMED)})
        with self._api.kit.transaction() as transaction:
            made = add_client(transaction.connection, self._api.encryption, values)
            if request.args.get("longLive", "").lower() == "true":
                made["access_token"] = add_key(transaction.connection, made["id"], None)
        return written(made)

    def list_all(self) -> Response:
        paging = Paging.of_request(COLUMNS)
        with self._api.kit.read() as connection:
            return answer(page(connection, select_clients(), paging, shown_client))

    def get(self, id: int) -> Response:
        with self._api.kit.read() as connection:
            return answer(shown_client(find_client(connection, id)))

    def secret(self, id: int) -> Response:
        with self._api.kit.read() as connection:
            row = find_client(connection, id)
        return answer({"client_secret": self._api.encryption.decrypt(row.secret)})

    def change(self, id: int) -> Response:
        return self._change(id, _columns(self._api.body(self._change_schema, _MALFORMED)))

    def delete(self, id: int) -> Response:
        return self._change(id, {"deleted": True})

    def revoke(self, id: int) -> Response:
        return self._change(id, {"revoked": self._api.body(self._revocation_schema, _MALFORMED)["revoke"]})

    def set_long_live(self, id: int) -> Response:
        sent = self._api.body(self._long_live_schema, _MALFORMED)
        days = sent.get("expiresInDays")
        expires_at = None if days is None else datetime.now(UTC) + timedelta(days=days)
        with self._api.kit.transaction() as transaction:
            connection = transaction.connection
            client = find_client(connection, id, lock=True)
            if sent["longLive"]:
                return written({"access_token": add_key(connection, client.id, expires_at)})
            revoke_keys(connection, client.id)
        return written()

    def keys(self, id: int) -> Response:
        paging = Paging.of_request(COLUMNS_OF_KEYS)
        with self._api.kit.read() as connection:
            client = find_client(connection, id)
            return answer(page(connection, select(keys).where(keys.c.client == client.id), paging, shown_key))

    def revoke_key(self, id: int, key_id: int) -> Response:
        with self._api.kit.transaction() as transaction:
            client = find_client(transaction.connection, id, lock=True)
            if not revoke_keys(transaction.connection, client.id, key_id):
                raise EventhosError(404, 404102, f"The client {id} has no key {key_id} that is not revoked")
        return written()

    def _change(self, id: int, values: dict[str, Any]) -> Response:
        with self._api.kit.transaction() as transaction:
            change_client(transaction.connection, id, values)
        return written()


def _columns(sent: dict[str, Any]) -> dict[str, Any]:
    """Return the columns for the keys of a body."""
    values = dict(sent)
    if (roles := values.pop("roles", None)) is not None:
        values["permissions"] = permissions_of(role["id"] for role in roles)
    return values
