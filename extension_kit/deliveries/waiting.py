"""Waiting deliveries: attempt them now, discard them, find the deliveries they wait for."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Row, select, update

from extension_kit.deliveries.contracts import ByHand, Chosen
from extension_kit.deliveries.replay import Filter
from extension_kit.deliveries.tables import DISCARDED, WAITING, attempts, deliveries, events
from extension_kit.store.database import Database

_BATCH = 1000


class Changed(NamedTuple):
    """Numbers of deliveries: changed, left alone because they were being attempted, without a job in the queue."""

    changed: int
    attempted: int
    lost: int


def retry_now(database: Database, queue: ByHand, wanted: Filter) -> Iterator[Changed]:
    """Make waiting deliveries due now, behind earlier ones of the same lock; yields a result for each batch."""

    def change(connection: Connection, chosen: Sequence[Chosen]) -> Changed:
        due = queue.make_due(connection, chosen)
        attempted = _refs(chosen) & queue.doing(connection)
        # Attempts may have ended between these queries: their deliveries may have a waiting job again.
        rest = [each for each in chosen if each.ref not in due | attempted]
        due |= queue.make_due(connection, rest) if rest else set()
        waiting = select(deliveries.c.ref).where(_still_waiting(_refs(rest) - due))
        lost = set(connection.execute(waiting).scalars()) - queue.doing(connection) if rest else set()
        return Changed(_update(connection, due, due_at=datetime.now(UTC)), len(attempted), len(lost))

    return _in_batches(database, wanted, change)


def discard_waiting(database: Database, queue: ByHand, wanted: Filter) -> Iterator[Changed]:
    """Discard waiting deliveries, except those being attempted; yields a result for each batch."""

    def change(connection: Connection, chosen: Sequence[Chosen]) -> Changed:
        queue.take_out(connection, chosen)
        attempted = _refs(chosen) & queue.doing(connection)
        ended = {"status": DISCARDED, "ended_at": datetime.now(UTC)}
        return Changed(_update(connection, _refs(chosen) - attempted, **ended), len(attempted), 0)

    return _in_batches(database, wanted, change)


def obstacles(connection: Connection, queue: ByHand, rows: Sequence[Row[Any]]) -> dict[int, int]:
    """Return the delivery that has to end before: delivery ref -> ref of the first with the same lock.

    Deliveries that wait for no other are left out.

    Args:
        connection: to read with.
        queue: knows the order.
        rows: rows of the table of deliveries.
    """
    locks = {row.ref: row.lock for row in rows if row.status == WAITING and row.lock is not None}
    first = queue.first_in_line(connection, set(locks.values()))
    return {ref: first[lock] for ref, lock in locks.items() if first.get(lock, ref) != ref}


def under_way(connection: Connection, refs: Sequence[int]) -> dict[int, datetime]:
    """Return the start of the attempt in progress by delivery; deliveries without one are left out."""
    found: dict[int, datetime] = {}
    for start in range(0, len(refs), _BATCH):
        some = attempts.c.delivery_ref.in_(refs[start : start + _BATCH])
        open_ = attempts.c.ended_at.is_(None) & (deliveries.c.status == WAITING)
        query = select(attempts.c.delivery_ref, attempts.c.started_at).join(deliveries).where(some, open_)
        found |= {row.delivery_ref: row.started_at for row in connection.execute(query)}
    return found


def _in_batches(
    database: Database, wanted: Filter, change: Callable[[Connection, Sequence[Chosen]], Changed]
) -> Iterator[Changed]:
    waiting = select(deliveries.c.ref, deliveries.c.lock).join(events)
    with database.read() as connection:
        found = connection.execute(waiting.where(*replace(wanted, status=WAITING).conditions()))
        # Deliveries of a lock stay together, because a job is found by a search through its lock's jobs.
        chosen = sorted((Chosen(*row) for row in found), key=lambda each: (each.lock or "", each.ref))
    for start in range(0, len(chosen), _BATCH):
        with database.transaction() as connection:
            changed = change(connection, chosen[start : start + _BATCH])
        yield changed


def _refs(chosen: Sequence[Chosen]) -> set[int]:
    return {ref for ref, _ in chosen}


def _update(connection: Connection, refs: set[int], **values: Any) -> int:
    """Change the deliveries that still wait, and return their number."""
    return connection.execute(update(deliveries).where(_still_waiting(refs)).values(values)).rowcount


def _still_waiting(refs: set[int]) -> ColumnElement[bool]:
    return deliveries.c.ref.in_(refs) & (deliveries.c.status == WAITING)
