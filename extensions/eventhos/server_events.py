"""Events of this server: those of agents and of other event protocols, as events that contracts may have.

They belong to the system ``this-server``. Their identifier is the source and the name of the event, such as
``steadybit:experiment.execution.failed``.
"""

import orjson
from sqlalchemy import Connection, select

from extension_kit.protocol import Due, Kit, Outcome, Subscription, subscriptions

from .answers import EventhosError
from .encryption import Encryption
from .received_event import SOURCE
from .sending import Accepted, accept, active_contracts, request_of
from .tables import events

SYSTEM = "this-server"
"""Identifier of the system whose events they are."""


def subscribe(connection: Connection, kit: Kit, identifier: str) -> int:
    """Subscribe to an event of this server, and return the number of the subscription.

    Args:
        connection: of a transaction.
        kit: the kit.
        identifier: source and name of the event.

    Raises:
        EventhosError: 400, it is no event that can arrive here.
    """
    source, _, name = identifier.partition(":")
    if not source or source == SOURCE or name not in kit.event_names:
        examples = "steadybit:experiment.execution.failed"
        raise EventhosError(
            400, 400208, f"{identifier:.100} is no event of this server: write its source and name, such as {examples}"
        )
    added = subscriptions.add(
        connection,
        kit.senders,
        protocol=SOURCE,
        name=identifier,
        sender="protocol",
        target={},
        patterns=(name,),
    )
    return added.ref


def start(kit: Kit, encryption: Encryption, due: Due, subscription: Subscription) -> Outcome:
    """Accept an event of this server.

    A repeated attempt accepts nothing: the event's source and id are its idempotency key.
    """
    source, _, _ = subscription.name.partition(":")
    request = encryption.encrypt(request_of(subscription.name, orjson.loads(due.body)))
    with kit.transaction() as transaction:
        query = select(events.c.id, events.c.identifier, events.c.deleted)
        event = transaction.connection.execute(query.where(events.c.subscription == subscription.ref)).first()
        if event is not None and not event.deleted and due.source == source:
            planned = active_contracts(transaction.connection, [event.id])[event.id]
            key = f"{due.source} {due.event_id}"
            accept(transaction, [Accepted(event.id, event.identifier, request, planned, idempotency_key=key)])
    return Outcome("delivered")
