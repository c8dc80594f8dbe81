"""Systems: those that send events, and those that actions call (eventhos, management API: /system)."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Row, select

from . import rows
from .answers import EventhosError
from .settings import EventhosSettings
from .tables import actions, clients, events, systems

_HYBRID = "hybrid"


def create(
    connection: Connection, settings: EventhosSettings, sent: Mapping[str, Any], *, with_suffix: bool = True
) -> int:
    """Add a system and return its id.

    Args:
        connection: of a transaction.
        settings: the profile chooses the code of an unknown client.
        sent: a loaded ``NewSystem``.
        with_suffix: True to make the identifier of a system with a client unique by a random suffix.

    Raises:
        EventhosError: the client is unknown or another system's, or the identifier is taken.
    """
    client = _client(connection, settings, sent.get("client"), of_system=0)
    values = {**sent, "client": client}
    suffixed = with_suffix and client is not None
    id, _ = rows.add(connection, systems, values.pop("identifier"), values, with_suffix=suffixed)
    return id


def change(connection: Connection, settings: EventhosSettings, id: int, sent: Mapping[str, Any]) -> None:
    """Change a system.

    Args:
        connection: of a transaction.
        settings: the profile chooses the code of an unknown client.
        id: of the system.
        sent: a loaded ``SystemChange``.

    Raises:
        EventhosError: the system or the client is unknown, or the client is another system's.
    """
    rows.find(connection, systems, id, lock=True)
    values = dict(sent)
    if "client" in sent:
        values["client"] = _client(connection, settings, sent["client"], of_system=id)
    rows.change(connection, systems, id, values)


def delete(connection: Connection, id: int) -> None:
    """Delete a system, and free its client for another one.

    Raises:
        EventhosError: it is unknown, or has events or actions.
    """
    rows.find(connection, systems, id, lock=True)
    for table, code, noun in ((events, 400302, "events"), (actions, 400303, "actions")):
        if rows.has_any(connection, table.c.system == id, ~table.c.deleted):
            raise EventhosError(400, code, f"System has conflicting {noun}")
    rows.change(connection, systems, id, {"deleted": True, "client": None})


def lock_of_class(connection: Connection, id: int, wanted: str) -> Row[Any]:
    """Return a system that is of a class or hybrid, and keep it as it is until the commit.

    Args:
        connection: of a transaction.
        id: of the system.
        wanted: ``producer`` or ``consumer``.

    Raises:
        EventhosError: it is unknown, or of the other class.
    """
    row = rows.find(connection, systems, id, lock=True)
    found = row._mapping[systems.c["class"]]
    if found not in (wanted, _HYBRID):
        raise EventhosError(400, 400306, f"The system is a {found}; a {wanted} or {_HYBRID} system is needed")
    return row


def shown(row: Row[Any]) -> dict[str, Any]:
    """Return a row as answers show it."""
    return {
        "id": row.id,
        "class": row._mapping["class"],
        "identifier": row.identifier,
        "name": row.name,
        "type": row.type,
        "description": row.description,
        "client_id": row.client,
        **rows.shown_state(row),
    }


def _client(
    connection: Connection, settings: EventhosSettings, wanted: int | str | None, *, of_system: int
) -> int | None:
    """Return the number of a client that no other system has; it stays locked until the commit."""
    if wanted is None:
        return None
    column = clients.c.id if isinstance(wanted, int) else clients.c.client_id
    found = select(clients.c.id).where(column == wanted, ~clients.c.deleted).with_for_update(key_share=True)
    id: int | None = connection.execute(found).scalar_one_or_none()
    if id is None:
        code = 400024 if settings.profile == "documented" else 400301
        raise EventhosError(404, code, f"The client with id {wanted} does not exist.")
    if rows.has_any(connection, systems.c.client == id, systems.c.id != of_system):
        raise EventhosError(400, 400304, f"The client with id {wanted} belongs to another system")
    return id
