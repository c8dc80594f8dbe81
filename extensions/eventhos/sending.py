"""Sending: events are accepted into the log, published to functions, and their contracts begin, in one transaction."""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, NamedTuple

from sqlalchemy import Connection, select

from extension_kit.protocol import IsAnyOf, PreparedStatement, Transaction, new_numbers

from .received_event import SOURCE, EventhosEvent
from .received_rows import NewRow, add_received
from .runs import Contract, begin, lock_order
from .tables import contracts, executions, received


class Cause(NamedTuple):
    """The execution whose answer is the event.

    Attributes:
        execution: its number.
        depth: the number of replies before the event, this one included.
        root: number of the event that the chain of replies began with.
    """

    execution: int | None = None
    depth: int = 0
    root: int | None = None


class Accepted(NamedTuple):
    """An event to be accepted, unless it was accepted before.

    Attributes:
        event: number of the event.
        identifier: its identifier.
        request: an object with ``headers``, ``query``, ``body``, ``method`` and ``url``, encrypted.
        contracts: the contracts to run.
        content: the body as JSON for functions; None: they do not get the event, because they had it before.
        idempotency_key: the same key and event is accepted once; None: the event is accepted in any case.
        cause: the execution that it replies to.
        retry_of: number of the execution that it retries.
        trace_context: of its request.
    """

    event: int
    identifier: str
    request: bytes
    contracts: Sequence[Contract]
    content: bytes | None = None
    idempotency_key: str | None = None
    cause: Cause = Cause()
    retry_of: int | None = None
    trace_context: str = ""


def active_contracts(connection: Connection, event_ids: Collection[int]) -> Mapping[int, Sequence[Contract]]:
    """Return the active contracts of events, those that run first at first, by the number of the event."""
    found: dict[int, list[Contract]] = {event: [] for event in event_ids}
    for row in _ACTIVE.all(connection, events=list(found)):
        contract = Contract(*row)
        found[contract.event].append(contract)
    return found


def request_of(identifier: str, body: Any) -> dict[str, Any]:
    """Return the request of an event that nobody has sent over HTTP, as the log keeps it and templates see it."""
    url = f"/event/send?event-identifier={identifier}"
    return {"headers": {}, "query": {}, "body": body, "method": "POST", "url": url}


def accept(transaction: Transaction, events: Sequence[Accepted]) -> None:
    """Accept events in their order; those that were accepted before are left out."""
    connection = transaction.connection
    now = datetime.now(UTC)
    lock_order(connection, {each.event for each in events if any(contract.in_order for contract in each.contracts)})
    numbers, for_executions = new_numbers(
        connection, {received: len(events), executions: sum(len(each.contracts) for each in events)}
    )
    rows = [NewRow(each.event, each.request, _idempotency_hash(each), *each.cause, each.retry_of) for each in events]
    added = [
        (number, each)
        for number, each in zip(add_received(connection, numbers, rows, now), events, strict=True)
        if number is not None
    ]
    _publish(transaction, added, now)
    begin(transaction, [(number, each.contracts, each.trace_context) for number, each in added], for_executions, now)


def _publish(transaction: Transaction, added: Sequence[tuple[int, Accepted]], now: datetime) -> None:
    """Publish events of the log to functions, if there are any: the log itself has every event."""
    wanted = transaction.wanted({_name(each) for _, each in added if each.content is not None})
    if wanted:
        transaction.publish(
            *(
                EventhosEvent.of(
                    source=SOURCE,
                    id=f"received-{number}",
                    name=_name(each),
                    body=each.content,
                    time=now,
                    trace_context=each.trace_context,
                )
                for number, each in added
                if each.content is not None and _name(each) in wanted
            )
        )


def _name(event: Accepted) -> str:
    return f"{SOURCE}.{event.identifier}"


def _idempotency_hash(event: Accepted) -> str | None:
    if event.idempotency_key is None:
        return None
    return sha256(f"{event.event} {event.idempotency_key}".encode()).hexdigest()


_ACTIVE = PreparedStatement(
    select(contracts.c.id, contracts.c.event, contracts.c.order, contracts.c.subscription, contracts.c.in_order)
    .where(IsAnyOf(contracts.c.event, "events"), contracts.c.active, ~contracts.c.deleted)
    .order_by(contracts.c.order, contracts.c.id)
)
