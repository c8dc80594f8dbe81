"""Contracts: which action an event runs, in which order (eventhos, management API: /contract)."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, Select, select, update

from extension_kit.protocol import Kit, subscriptions

from . import rows
from .received_event import SOURCE
from .tables import actions, contracts, events, systems

_PRODUCERS, _CONSUMERS = systems.alias("producers"), systems.alias("consumers")
_LISTED = (
    select(
        contracts,
        events.c.identifier.label("event_identifier"),
        actions.c.identifier.label("action_identifier"),
        _PRODUCERS.c.name.label("producer_name"),
        _CONSUMERS.c.name.label("consumer_name"),
    )
    .join(events, events.c.id == contracts.c.event)
    .join(actions, actions.c.id == contracts.c.action)
    .join(_PRODUCERS, _PRODUCERS.c.id == events.c.system)
    .join(_CONSUMERS, _CONSUMERS.c.id == actions.c.system)
    .where(~contracts.c.deleted)
)

SORTABLE = {
    **{name: contracts.c[name] for name in ("id", "identifier", "name", "active", "order")},
    "eventId": contracts.c.event,
    "actionId": contracts.c.action,
    "producerName": _PRODUCERS.c.name,
    "consumerName": _CONSUMERS.c.name,
    "eventIdentifier": events.c.identifier,
    "actionIdentifier": actions.c.identifier,
    "mailRecipientsOnError": contracts.c.mail_recipients,
}
"""Columns that may sort lists, by the names that answers have for them."""


def create(connection: Connection, kit: Kit, sent: Mapping[str, Any], *, with_suffix: bool = True) -> int:
    """Add a contract with its subscription, and return its id.

    Args:
        connection: of a transaction.
        kit: its senders check the subscription.
        sent: a loaded ``NewContract``.
        with_suffix: True to make the identifier unique by a random suffix.

    Raises:
        EventhosError: the event or the action is unknown, or the identifier is taken.
    """
    rows.find(connection, events, sent["event"], lock=True)
    action = rows.find(connection, actions, sent["action"], lock=True)
    rows.refuse_taken(connection, contracts, sent["identifier"])
    values = dict(sent)
    id, identifier = rows.add(connection, contracts, values.pop("identifier"), values, with_suffix=with_suffix)
    subscription = subscriptions.add(
        connection,
        kit.senders,
        protocol=SOURCE,
        name=identifier,
        sender="protocol",
        target={},
        # A worker shares its threads among scopes, so new contracts of a system that hangs leave some to other systems.
        scope=f"{SOURCE}-system-{action.system}",
    )
    connection.execute(update(contracts).where(contracts.c.id == id).values(subscription=subscription.ref))
    return id


def change(connection: Connection, id: int, sent: Mapping[str, Any]) -> None:
    """Change a contract as a loaded ``ContractChange`` says.

    Raises:
        EventhosError: it is unknown.
    """
    rows.find(connection, contracts, id, lock=True)
    rows.change(connection, contracts, id, sent)


def change_orders(connection: Connection, orders: Sequence[Mapping[str, int]]) -> None:
    """Change the orders of contracts: of all, or of none. The last one counts if a contract comes twice.

    Args:
        connection: of a transaction.
        orders: of a loaded ``ContractOrders``.

    Raises:
        EventhosError: a contract is unknown.
    """
    wanted = {each["id"]: each["order"] for each in orders}
    known = select(contracts.c.id).where(contracts.c.id.in_(wanted), ~contracts.c.deleted)
    # Locked in one sequence, so that two requests cannot deadlock.
    locked = connection.execute(known.order_by(contracts.c.id).with_for_update(key_share=True)).scalars()
    if missing := wanted.keys() - set(locked):
        raise rows.unknown(contracts, min(missing))
    for id, order in wanted.items():
        rows.change(connection, contracts, id, {"order": order})


def delete(connection: Connection, id: int) -> None:
    """Delete a contract. Its subscription stays: it makes the attempts that wait.

    Raises:
        EventhosError: it is unknown.
    """
    rows.find(connection, contracts, id, lock=True)
    rows.delete(connection, contracts, id)


def search(word: str) -> Select[Any]:
    """Return the query of the contracts that a text is in: its name, its systems' names, or the identifiers.

    An empty text is in all of them.
    """
    columns = contracts.c.name, _PRODUCERS.c.name, events.c.identifier, _CONSUMERS.c.name, actions.c.identifier
    return _LISTED.where(rows.contains(word, *columns)) if word else _LISTED


def find(connection: Connection, id: int) -> dict[str, Any]:
    """Return a contract as lists show it.

    Raises:
        EventhosError: it is unknown.
    """
    rows.find(connection, contracts, id)
    return listed(connection.execute(_LISTED.where(contracts.c.id == id)).one())


def of_event(connection: Connection, event: int, action: int | None = None) -> list[dict[str, Any]]:
    """Return the contracts of an event, or of an event and an action, in their order.

    Raises:
        EventhosError: the event or the action is unknown.
    """
    rows.find(connection, events, event)
    wanted = [contracts.c.event == event, ~contracts.c.deleted]
    if action is not None:
        rows.find(connection, actions, action)
        wanted.append(contracts.c.action == action)
    query = select(contracts).where(*wanted).order_by(contracts.c.order, contracts.c.id).limit(rows.MOST_LISTED)
    return [shown(row) for row in connection.execute(query)]


def listed(row: Row[Any]) -> dict[str, Any]:
    """Return a row of ``search`` as answers show it; ``active`` is a number, as in upstream's rows."""
    return {
        "id": row.id,
        "identifier": row.identifier,
        "name": row.name,
        "active": int(row.active),
        "order": row.order,
        "eventId": row.event,
        "actionId": row.action,
        "producerName": row.producer_name,
        "consumerName": row.consumer_name,
        "eventIdentifier": row.event_identifier,
        "actionIdentifier": row.action_identifier,
        "mailRecipientsOnError": row.mail_recipients,
        "stopOnError": row.stop_on_error,
        "inOrder": row.in_order,
        "retrySchedule": row.retry,
    }


def shown(row: Row[Any]) -> dict[str, Any]:
    """Return a row as answers show the columns of contracts."""
    return {
        "id": row.id,
        "event_id": row.event,
        "action_id": row.action,
        "identifier": row.identifier,
        "name": row.name,
        "active": int(row.active),
        "order": row.order,
        "mail_recipients_on_error": row.mail_recipients,
        **rows.shown_state(row),
    }
