"""Waiting deliveries: attempt them now, discard them, find the deliveries they wait for."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, case, func, select, update

from extension_kit.deliveries.call_up import call_up
from extension_kit.deliveries.notify import notify_workers
from extension_kit.deliveries.queries import Filter
from extension_kit.deliveries.tables import BEHIND, CLAIMED, DISCARDED, READY, WAITING, deliveries, events
from extension_kit.store.database import Database

_BATCH = 1000  # deliveries of a transaction
_AT_ONCE = 20_000  # numbers of deliveries in memory
_UNCLAIMED = (deliveries.c.status == WAITING) & deliveries.c.stage.is_distinct_from(CLAIMED)


class Changed(NamedTuple):
    """Numbers of deliveries: changed, and left alone because they were being attempted."""

    changed: int
    attempted: int


def retry_now(database: Database, wanted: Filter) -> Iterator[Changed]:
    """Make waiting deliveries due now, behind earlier ones of the same lock; yields a result for each batch."""
    stage = case((deliveries.c.stage == BEHIND, BEHIND), else_=READY)
    return _in_batches(database, wanted, {"due_at": datetime.now(UTC), "stage": stage})


def discard_waiting(database: Database, wanted: Filter) -> Iterator[Changed]:
    """Discard waiting deliveries, except those being attempted; yields a result for each batch."""
    return _in_batches(database, wanted, {"status": DISCARDED, "stage": None, "ended_at": datetime.now(UTC)})


def obstacles(connection: Connection, rows: Sequence[Row[Any]]) -> dict[int, int]:
    """Return the delivery that has to end before: delivery ref -> ref of the first with the same lock.

    Deliveries that wait for no other are left out.

    Args:
        connection: to read with.
        rows: rows of the table of deliveries.
    """
    locks = {row.ref: row.lock for row in rows if row.status == WAITING and row.lock is not None}
    among = deliveries.c.lock.in_(set(locks.values())) & (deliveries.c.status == WAITING)
    query = (
        select(deliveries.c.lock, func.min(deliveries.c.ref).label("first")).where(among).group_by(deliveries.c.lock)
    )
    first = {row.lock: row.first for row in connection.execute(query)} if locks else {}
    return {ref: first[lock] for ref, lock in locks.items() if first.get(lock, ref) != ref}


def _in_batches(database: Database, wanted: Filter, values: dict[str, Any]) -> Iterator[Changed]:
    for refs in _chosen(database, replace(wanted, status=WAITING)):
        with database.transaction() as connection:
            # In one order, so that two of these transactions cannot deadlock.
            mine = select(deliveries.c.ref, deliveries.c.lock).where(deliveries.c.ref.in_(refs), _UNCLAIMED)
            found = connection.execute(mine.order_by(deliveries.c.ref).with_for_update()).all()
            change = update(deliveries).where(deliveries.c.ref.in_([row.ref for row in found]))
            connection.execute(change.values(values))
            if locks := {row.lock for row in found if row.lock is not None}:
                call_up(connection, locks)
            claimed = select(func.count()).where(deliveries.c.ref.in_(refs), deliveries.c.stage == CLAIMED)
            attempted = connection.execute(claimed).scalar_one()
            notify_workers(connection)
        yield Changed(len(found), attempted)


def _chosen(database: Database, wanted: Filter) -> Iterator[Sequence[int]]:
    """Yield the numbers of deliveries that match, oldest first, but for those that are added meanwhile."""
    with database.read() as connection:
        highest = connection.execute(select(func.max(deliveries.c.ref))).scalar() or 0
    ref = deliveries.c.ref
    query = select(ref).join(events).where(*wanted.conditions(), ref <= highest).order_by(ref).limit(_AT_ONCE)
    last = 0
    while True:
        with database.read() as connection:
            refs = connection.execute(query.where(ref > last)).scalars().all()
        for start in range(0, len(refs), _BATCH):
            yield refs[start : start + _BATCH]
        if len(refs) < _AT_ONCE:
            return
        last = refs[-1]
