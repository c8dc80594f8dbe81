"""Clients: the senders of events, and callers of the management API (table ``clients``)."""

import secrets
import string
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, insert, select

from . import rows
from .encryption import Encryption
from .keys import long_live
from .roles import roles_of
from .tables import clients

_CHARACTERS = string.ascii_letters + string.digits
_LENGTH = 20
_SUFFIX = "::usil.app"
_SECRET_BYTES = 32

COLUMNS = {
    name: clients.c[name]
    for name in ("id", "identifier", "client_id", "name", "description", "revoked", "created_at", "updated_at")
}
"""Columns that may sort a list of clients, by name."""


def select_clients() -> Select[Any]:
    """Return the query for the clients that were not deleted, with a column ``long_live``."""
    return select(clients, long_live().label("long_live")).where(clients.c.deleted.is_(False))


def find_client(connection: Connection, id: int, *, lock: bool = False) -> Row[Any]:
    """Return a client that was not deleted.

    Args:
        connection: of a transaction, if ``lock`` is set.
        id: its number.
        lock: True to keep others from changing it until the end of the transaction.

    Raises:
        EventhosError: 404, there is none.
    """
    query = select_clients().where(clients.c.id == id)
    row = connection.execute(query.with_for_update(of=clients, key_share=True) if lock else query).one_or_none()
    if row is None:
        raise rows.unknown(clients, id)
    return row


def find_client_by_name(connection: Connection, client_id: str) -> Row[Any] | None:
    """Return a client that was not deleted by its ``client_id``, or None if there is none."""
    return connection.execute(select_clients().where(clients.c.client_id == client_id)).one_or_none()


def add_client(connection: Connection, encryption: Encryption, values: Mapping[str, Any]) -> dict[str, Any]:
    """Add a client with a secret, and return its number, ``clientId`` and secret as the answer shows them.

    Args:
        connection: of a transaction.
        encryption: encrypts the secret.
        values: ``identifier``, ``name``, ``description`` and ``permissions``.
    """
    now = datetime.now(UTC)
    client_id = "".join(secrets.choice(_CHARACTERS) for _ in range(_LENGTH)) + _SUFFIX
    secret = secrets.token_urlsafe(_SECRET_BYTES)
    own = {"client_id": client_id, "secret": encryption.encrypt(secret), "created_at": now, "updated_at": now}
    made = connection.execute(insert(clients).values(**values, **own).returning(clients.c.id))
    return {"id": made.scalar_one(), "clientId": client_id, "clientSecret": secret}


def change_client(connection: Connection, id: int, values: Mapping[str, Any]) -> None:
    """Change columns of a client.

    Args:
        connection: of a transaction.
        id: its number.
        values: new values by column.

    Raises:
        EventhosError: 404, there is no such client.
    """
    find_client(connection, id, lock=True)
    rows.change(connection, clients, id, values)


def shown_client(row: Row[Any]) -> dict[str, Any]:
    """Return a row of ``select_clients`` as answers show it, without its secret."""
    return {
        "id": row.id,
        "identifier": row.identifier,
        "clientId": row.client_id,
        "name": row.name,
        "description": row.description,
        "revoked": row.revoked,
        "longLive": bool(row.long_live),
        "roles": roles_of(row.permissions),
        "created_at": row.created_at,
        "updated_at": row.updated_at,
    }
