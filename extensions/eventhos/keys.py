"""Keys of clients, which send events with them: made at random, shown once, and stored as hashes (table ``keys``)."""

import secrets
from collections.abc import Collection
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Exists,
    Row,
    and_,
    exists,
    func,
    insert,
    select,
    update,
)

from extension_kit.protocol import IsAnyOf, PreparedStatement

from .answers import EventhosError
from .tables import clients, keys

_BYTES = 40
_MOST = 100

COLUMNS = {"id": keys.c.id, "created_at": keys.c.created_at}
"""Columns that may sort a list of keys, by name."""


def _unrevoked(client: int) -> ColumnElement[bool]:
    return and_(keys.c.client == client, keys.c.revoked_at.is_(None))


def add_key(connection: Connection, client: int, expires_at: datetime | None) -> str:
    """Make a further key of a client, and return it: it cannot be read again.

    Args:
        connection: of a transaction that has locked the client.
        client: its number.
        expires_at: from then on the key is refused; None: never.

    Raises:
        EventhosError: 400, the client has 100 keys that were not revoked.
    """
    count = select(func.count()).select_from(keys).where(_unrevoked(client))
    if connection.execute(count).scalar_one() >= _MOST:
        raise EventhosError(400, 400102, f"A client has {_MOST} keys at most: revoke those that are not used")
    key = secrets.token_urlsafe(_BYTES)
    values = {"client": client, "hash": key_hash(key), "expires_at": expires_at, "created_at": datetime.now(UTC)}
    connection.execute(insert(keys).values(values))
    return key


def revoke_keys(connection: Connection, client: int, id: int | None = None) -> int:
    """Revoke keys of a client that were not revoked before, and return their number.

    Args:
        connection: of a transaction.
        client: its number.
        id: number of the only key to revoke; None: all.
    """
    condition = _unrevoked(client) if id is None else and_(_unrevoked(client), keys.c.id == id)
    return connection.execute(update(keys).where(condition).values(revoked_at=datetime.now(UTC))).rowcount


class ValidKey(NamedTuple):
    """A key that was not revoked.

    Attributes:
        client: number of its client.
        expires_at: from then on it is refused; None: never.
    """

    client: int
    expires_at: datetime | None


def key_hash(text: str) -> str:
    """Return the hash that a key is stored and found by: the time of a search tells nothing about a key."""
    return sha256(text.encode(errors="surrogatepass")).hexdigest()


def unrevoked_keys(connection: Connection, hashes: Collection[str]) -> dict[str, ValidKey]:
    """Return the keys that were not revoked, of those with the given hashes, by their hash."""
    return {hash: ValidKey(*row) for hash, *row in _UNREVOKED.all(connection, hashes=list(hashes))}


def long_live() -> Exists:
    """Return the condition that a row of ``clients`` is long-live: it has a key that was not revoked."""
    return exists().where(keys.c.client == clients.c.id, keys.c.revoked_at.is_(None))


def shown_key(row: Row[Any]) -> dict[str, Any]:
    """Return a row of ``keys`` as answers show it."""
    return {
        "id": row.id,
        "created_at": row.created_at,
        "expires_at": row.expires_at,
        "revoked_at": row.revoked_at,
    }


_UNREVOKED = PreparedStatement(
    select(keys.c.hash, keys.c.client, keys.c.expires_at).where(
        IsAnyOf(keys.c.hash, "hashes"), keys.c.revoked_at.is_(None)
    )
)
