"""Runs of contracts: the executions that begin with an event, and those that begin when others end.

An accepted event has an execution for each active contract. Those of the lowest order begin at once, those of the next
order when all before have ended. An execution begins by an event of the kit with a delivery to the contract's
subscription, and ends in the transaction that begins the next ones: whatever process dies, no order begins too early
and none is left out.
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, exists, func, select, update

from extension_kit.protocol import PublishedEvent, Transaction

from .received_event import SOURCE
from .received_rows import NewExecution, add_executions
from .tables import ERROR, contracts, events, executions, received

_RUN = "eventhos.run"
"""Name of the events that begin executions. Only the subscriptions of contracts get them."""


def run_event_id(run: int) -> str:
    """Return the id of the event that begins the executions with this number of their run."""
    return f"run-{run}"


class Contract(NamedTuple):
    """A contract of an event, with the number of its subscription."""

    id: int
    event: int
    order: int
    subscription: int
    in_order: bool


def begin(
    transaction: Transaction,
    events: Sequence[tuple[int, Sequence[Contract], str]],
    for_executions: Iterable[int],
    now: datetime,
) -> None:
    """Store the executions of new events, and begin those of the lowest order.

    Args:
        transaction: the transaction that has locked the order of the events and inserted them.
        events: the number of each event in the log, its contracts, those of the lowest order first, and its trace
            context.
        for_executions: ascending numbers, at least as many as there are contracts.
        now: aware.
    """
    connection = transaction.connection
    numbers = iter(for_executions)
    busy = _pending(connection, {contract.id for _, planned, _ in events for contract in planned if contract.in_order})
    rows: list[NewExecution] = []
    runs: list[tuple[PublishedEvent, Sequence[int]]] = []
    for received_id, planned, trace_context in events:
        numbered = [(next(numbers), contract) for contract in planned]
        ready = {
            number: contract.subscription
            for number, contract in numbered
            if contract.order == planned[0].order and contract.id not in busy
        }
        run = next(iter(ready), None)
        rows += [
            NewExecution(number, received_id, contract.id, contract.order, run if number in ready else None)
            for number, contract in numbered
        ]
        busy.update(contract.id for contract in planned if contract.in_order)
        if run is not None:
            runs.append((_run_event(run, received_id, trace_context), [*ready.values()]))
    if rows:
        add_executions(connection, rows, now)
        transaction.deliver_all(runs)


def advance(transaction: Transaction, received_id: int) -> None:
    """Begin the executions of an event that may begin: those of the lowest order that has not ended.

    The caller has locked the event's row.
    """
    connection = transaction.connection
    pending = connection.execute(
        select(executions.c.id, executions.c.contract, executions.c.order, executions.c.started_at)
        .where(executions.c.received == received_id, executions.c.state.is_(None))
        .order_by(executions.c.order, executions.c.id)
    ).all()
    if not pending:
        return
    if _is_stopped(connection, received_id, pending[0].order):
        _stop(connection, [row.id for row in pending])
        for row in pending:
            _begin_next_in_order(transaction, row.contract)
        return
    waiting = [row for row in pending if row.order == pending[0].order and row.started_at is None]
    _begin(transaction, received_id, waiting)


class Logged(NamedTuple):
    """The call of an execution as the log keeps it.

    Attributes:
        request: as it was sent, encrypted.
        response: as it came, encrypted.
        seconds: how long the call took.
    """

    request: bytes
    response: bytes
    seconds: float


def end(transaction: Transaction, execution: Any, state: str, call: Logged) -> bool:
    """End an execution, and begin those that waited for it.

    Args:
        transaction: the transaction.
        execution: its row.
        state: ``processed`` or ``error``.
        call: its last call.

    Returns:
        False if it had ended before; nothing was changed.
    """
    connection = transaction.connection
    connection.execute(select(received.c.id).where(received.c.id == execution.received).with_for_update(key_share=True))
    ended = connection.execute(
        update(executions)
        .where(executions.c.id == execution.id, executions.c.state.is_(None))
        .values(
            state=state,
            attempts=executions.c.attempts + 1,
            ended_at=datetime.now(UTC),
            **call._asdict(),
        )
    ).rowcount
    if not ended:
        return False
    advance(transaction, execution.received)
    _begin_next_in_order(transaction, execution.contract)
    return True


def _is_stopped(connection: Connection, received_id: int, order: int) -> bool:
    """Return True if a contract of a lower order failed that stops those behind it."""
    found = connection.execute(
        select(executions.c.id)
        .join(contracts, contracts.c.id == executions.c.contract)
        .where(executions.c.received == received_id, executions.c.state == ERROR, executions.c.order < order)
        .where(contracts.c.stop_on_error)
        .limit(1)
    )
    return found.first() is not None


def _stop(connection: Connection, ids: Sequence[int]) -> None:
    connection.execute(
        update(executions).where(executions.c.id.in_(ids)).values(state=ERROR, ended_at=datetime.now(UTC))
    )


def _begin(transaction: Transaction, received_id: int, rows: Sequence[Any]) -> None:
    """Begin executions of one event, but not those whose contract still handles an earlier event, in order."""
    if not rows:
        return
    connection = transaction.connection
    wanted = contracts.c.id.in_([row.contract for row in rows])
    query = select(contracts.c.id, contracts.c.subscription, contracts.c.in_order, contracts.c.event)
    found = {row.id: row for row in connection.execute(query.where(wanted))}
    in_order = {row.id for row in found.values() if row.in_order}
    if in_order:
        lock_order(connection, {row.event for row in found.values()})
    ready = [row for row in rows if row.contract not in in_order or _is_first(connection, row.contract, row.id)]
    if not ready:
        return
    run = ready[0].id
    connection.execute(
        update(executions)
        .where(executions.c.id.in_([row.id for row in ready]))
        .values(started_at=datetime.now(UTC), run=run)
    )
    transaction.deliver(_run_event(run, received_id), [found[row.contract].subscription for row in ready])


def _run_event(run: int, received_id: int, trace_context: str = "") -> PublishedEvent:
    """Return the event that begins the executions of a run."""
    body = b'{"received":%d}' % received_id
    return PublishedEvent.of(source=SOURCE, id=run_event_id(run), name=_RUN, body=body, trace_context=trace_context)


def lock_order(connection: Connection, event_ids: Collection[int]) -> None:
    """Have transactions that begin executions in order follow each other, so that one sees the ends of another."""
    if not event_ids:
        return
    locked = select(events.c.id).where(events.c.id.in_(event_ids)).order_by(events.c.id)
    connection.execute(locked.with_for_update(key_share=True))


def _pending(connection: Connection, contract_ids: Collection[int]) -> set[int]:
    """Return the contracts, of those given, with an execution that has not ended."""
    if not contract_ids:
        return set()
    there = exists().where(executions.c.contract == contracts.c.id, executions.c.state.is_(None))
    return set(connection.execute(select(contracts.c.id).where(contracts.c.id.in_(contract_ids), there)).scalars())


def _is_first(connection: Connection, contract: int, execution: int) -> bool:
    """Return True if no execution of a contract before this one is pending."""
    first = select(func.min(executions.c.id)).where(executions.c.contract == contract, executions.c.state.is_(None))
    return bool(connection.execute(first).scalar_one() == execution)


def _begin_next_in_order(transaction: Transaction, contract: int) -> None:
    """Begin the next execution of a contract that handles events in order, if its turn among its event's has come."""
    connection = transaction.connection
    query = select(contracts.c.event).where(contracts.c.id == contract, contracts.c.in_order)
    if (event_id := connection.execute(query).scalar_one_or_none()) is None:
        return
    lock_order(connection, [event_id])
    row = connection.execute(
        select(executions)
        .where(executions.c.contract == contract, executions.c.state.is_(None))
        .order_by(executions.c.id)
        .limit(1)
    ).first()
    if row is None or row.started_at is not None:
        return
    lower = select(func.count()).where(
        executions.c.received == row.received, executions.c.state.is_(None), executions.c.order < row.order
    )
    if connection.execute(lower).scalar_one() == 0:
        _begin(transaction, row.received, [row])
