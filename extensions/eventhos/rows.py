"""Rows of systems, events, actions and contracts: their identifiers, look-ups, searches and soft deletion."""

import secrets
import string
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Table, exists, false, or_, select, update

from extension_kit.protocol import insert_or_ignore

from .answers import EventhosError
from .tables import actions, clients, contracts, events, systems

MOST_LISTED = 1000
"""Maximum number of rows in lists without pages."""

_SUFFIX = 10  # characters
_TRIES = 10
_LONGEST_SEARCH = 200  # no searched column holds a longer text
_ALPHABET = string.ascii_letters + string.digits
_UNKNOWN = {
    systems: (404301, "system"),
    events: (404207, "event"),
    actions: (400002, "action"),
    contracts: (404104, "contract"),
    clients: (404100, "client"),
}
_TAKEN = {systems: 400307, events: 400209, actions: 400001, contracts: 400101}


def find(connection: Connection, table: Table, id: int, *, lock: bool = False) -> Row[Any]:
    """Return a row that is not deleted; ``lock`` keeps it locked until the commit.

    Raises:
        EventhosError: 404, there is none.
    """
    query = select(table).where(table.c.id == id, ~table.c.deleted)
    row = connection.execute(query.with_for_update(key_share=True) if lock else query).one_or_none()
    if row is None:
        raise unknown(table, id)
    return row


def unknown(table: Table, id: int) -> EventhosError:
    """Make the error of an id that no row has."""
    code, noun = _UNKNOWN[table]
    return EventhosError(404, code, f"The {noun} does not exist: {id}")


def add(
    connection: Connection, table: Table, identifier: str, values: Mapping[str, Any], *, with_suffix: bool = True
) -> tuple[int, str]:
    """Add a row, and return its id and its identifier.

    Args:
        connection: of a transaction.
        table: of the row.
        identifier: the given part.
        values: of all other columns without defaults but the times.
        with_suffix: True to make the identifier unique by a random suffix.

    Raises:
        EventhosError: 400, a row has this identifier.
    """
    now = datetime.now(UTC)
    for _ in range(_TRIES if with_suffix else 1):
        suffix = "".join(secrets.choice(_ALPHABET) for _ in range(_SUFFIX))
        whole = f"{identifier}-{suffix}" if with_suffix else identifier
        row = {**values, "identifier": whole, "created_at": now, "updated_at": now}
        id = insert_or_ignore(connection, table, row, returning=[table.c.id]).scalar_one_or_none()
        if id is not None:
            return id, whole
    raise _taken(table, identifier)


def refuse_taken(connection: Connection, table: Table, identifier: str) -> None:
    """Check that no row, deleted ones included, has an identifier as it was given.

    Raises:
        EventhosError: 400, one has.
    """
    if has_any(connection, table.c.identifier == identifier):
        raise _taken(table, identifier)


def change(connection: Connection, table: Table, id: int, values: Mapping[str, Any]) -> None:
    """Change columns of a row, and the time of its last change."""
    changed = update(table).where(table.c.id == id)
    connection.execute(changed.values({**values, "updated_at": datetime.now(UTC)}))


def delete(connection: Connection, table: Table, id: int) -> None:
    """Mark a row as deleted."""
    change(connection, table, id, {"deleted": True})


def has_any(connection: Connection, *wanted: ColumnElement[bool]) -> bool:
    """Return True if a row meets all conditions."""
    return bool(connection.execute(select(exists().where(*wanted))).scalar_one())


def contains(text: str, *columns: ColumnElement[Any]) -> ColumnElement[bool]:
    """Return the condition that one of the columns contains a text, in upper or lower case."""
    if "\0" in text or len(text) > _LONGEST_SEARCH:
        return false()
    return or_(*(column.icontains(text, autoescape=True) for column in columns))


def shown(row: Row[Any]) -> dict[str, Any]:
    """Return a row of events or actions as answers show it, without encrypted columns."""
    return {
        "id": row.id,
        "system_id": row.system,
        "identifier": row.identifier,
        "name": row.name,
        "operation": row.operation,
        "description": row.description,
        **shown_state(row),
    }


def shown_state(row: Row[Any]) -> dict[str, Any]:
    """Return the columns that all tables have; ``deleted`` is a number, as in upstream's rows."""
    return {"deleted": int(row.deleted), "created_at": iso(row.created_at), "updated_at": iso(row.updated_at)}


def iso(time: datetime) -> str:
    """Return a time in UTC with milliseconds, such as ``2026-01-31T12:00:00.000Z``."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _taken(table: Table, identifier: str) -> EventhosError:
    _, noun = _UNKNOWN[table]
    return EventhosError(400, _TAKEN[table], f"{noun.capitalize()} identifier already exist: {identifier}")
