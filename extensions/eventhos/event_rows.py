"""Events that systems may send (eventhos, management API: /event)."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

from extension_kit.protocol import Kit, subscriptions

from . import rows, systems
from .answers import EventhosError
from .server_events import SYSTEM, subscribe
from .tables import contracts, events


def create(connection: Connection, kit: Kit, sent: Mapping[str, Any], *, with_suffix: bool = True) -> int:
    """Add an event and return its id. The identifier of an event of this server is as it was given.

    Args:
        connection: of a transaction.
        kit: knows the events of this server.
        sent: a loaded ``NewEvent``.
        with_suffix: True to make the identifier unique by a random suffix.

    Raises:
        EventhosError: the system is unknown, or sends no events; or this server has no such event.
    """
    system = systems.lock_of_class(connection, sent["system"], "producer")
    values = dict(sent)
    identifier = values.pop("identifier")
    is_ours = system.identifier == SYSTEM
    if is_ours:
        rows.refuse_taken(connection, events, identifier)
        values["subscription"] = subscribe(connection, kit, identifier)
    id, _ = rows.add(connection, events, identifier, values, with_suffix=with_suffix and not is_ours)
    return id


def change(connection: Connection, id: int, sent: Mapping[str, Any]) -> None:
    """Change an event as a loaded ``EventChange`` says.

    Raises:
        EventhosError: it is unknown.
    """
    rows.find(connection, events, id, lock=True)
    rows.change(connection, events, id, sent)


def delete(connection: Connection, id: int) -> None:
    """Delete an event.

    Raises:
        EventhosError: it is unknown, or has contracts.
    """
    row = rows.find(connection, events, id, lock=True)
    if rows.has_any(connection, contracts.c.event == id, ~contracts.c.deleted):
        raise EventhosError(400, 400207, "Event has active contracts")
    if row.subscription is not None:
        subscriptions.remove(connection, row.subscription)
    rows.change(connection, events, id, {"deleted": True, "subscription": None})
