"""Access to the management API: logins, tokens (JWT, HS256) and permissions (eventhos, management API)."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
from flask import request
from sqlalchemy import select

from extension_kit.protocol import Kit, local_secret

from .answers import EventhosError
from .settings import EventhosSettings
from .tables import LARGEST_ID, clients

JWT_VARIABLE = "EXTENSION_EVENTHOS_JWT_SECRET"
_VALID_FOR = timedelta(hours=24)
_ALGORITHM = "HS256"

EVERYTHING = "OAUTH2_global:*"
"""Permission of everything."""


@dataclass(frozen=True)
class Caller:
    """Caller of the management API.

    Attributes:
        kind: ``user`` or ``client``.
        id: its number.
        name: of the user, or the client's identifier.
        permissions: such as ``event:create``, ``system:*`` or ``OAUTH2_global:*``.
    """

    kind: str
    id: int
    name: str
    permissions: frozenset[str]

    def may(self, permission: str) -> bool:
        """Return True if the caller has a permission, such as ``event:create``."""
        resource = permission.partition(":")[0]
        return not self.permissions.isdisjoint({permission, f"{resource}:*", EVERYTHING})


class Access:
    """Verifies the tokens of requests.

    Args:
        kit: the kit.
        settings: the administrator and the secret of tokens.

    Raises:
        SettingError: there is no secret, or its file cannot be used.
    """

    def __init__(self, kit: Kit, settings: EventhosSettings) -> None:
        self._kit = kit
        self._admin = settings.admin_user
        self._secret = settings.jwt_secret.encode() or local_secret(
            kit.database, "eventhos-tokens", variable=JWT_VARIABLE
        )

    def make_token(self, kind: str, id: int, name: str) -> str:
        """Return a token that is valid for 24 hours."""
        now = datetime.now(UTC)
        data = {"id": id, "subjectType": kind, "username" if kind == "user" else "identifier": name}
        return jwt.encode({"data": data, "iat": now, "exp": now + _VALID_FOR}, self._secret, _ALGORITHM)

    def require(self, permission: str) -> Caller:
        """Return the caller of the current request.

        Raises:
            EventhosError: 403, there is no token, or its client was revoked; 401, the token is invalid or expired, its
                client was deleted, its user is no longer the administrator, or the caller has no such permission.
        """
        caller = self._caller(_token())
        if not caller.may(permission):
            raise EventhosError(401, 401002, f"Subject not authorized; the permission {permission} is needed")
        return caller

    def client_of(self, token: str) -> int | None:
        """Return the number of the client whose token this is; None if it is invalid, expired or a user's."""
        try:
            data = self._data(token)
        except EventhosError:
            return None
        return data.get("id") if data.get("subjectType") == "client" else None

    def _caller(self, token: str) -> Caller:
        data = self._data(token)
        kind, id, name = data.get("subjectType"), data["id"], data.get("username")
        if kind == "user" and self._admin and name == self._admin:
            return Caller("user", id, name, frozenset({EVERYTHING}))
        if kind == "client":
            return self._client(id)
        raise _incorrect()

    def _client(self, id: int) -> Caller:
        with self._kit.read() as connection:
            found = select(clients).where(clients.c.id == id, clients.c.deleted.is_(False))
            row = connection.execute(found).one_or_none()
        if row is None:
            raise _incorrect()
        if row.revoked:
            raise EventhosError(403, 403003, "Subject not authorized; the client has been revoked")
        return Caller("client", row.id, row.identifier, frozenset(row.permissions))

    def _data(self, token: str) -> dict[str, Any]:
        """Return the subject of a token.

        Raises:
            EventhosError: 401, the token is invalid or expired.
        """
        try:
            data = jwt.decode(token, self._secret, [_ALGORITHM], options={"require": ["exp"], "verify_iat": False})[
                "data"
            ]
        except jwt.ExpiredSignatureError:
            raise EventhosError(401, 400002, "Jwt token is expired") from None
        except (jwt.PyJWTError, KeyError, ValueError, RecursionError):
            raise _incorrect() from None
        if not isinstance(data, dict) or not _is_id(data.get("id")):
            raise _incorrect()
        return data


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= LARGEST_ID


def _incorrect() -> EventhosError:
    return EventhosError(401, 400001, "Jwt token is incorrect")


def _token() -> str:
    """Return the token of the current request: of its header, else of its query.

    Raises:
        EventhosError: 403, there is none.
    """
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.upper() == "BEARER" and token.strip():
        return token.strip()
    if token := request.args.get("access_token", ""):
        return token
    raise EventhosError(403, 403002, "Subject not authorized; no jwt token was send")
