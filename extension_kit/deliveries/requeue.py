"""Requeue: has workers find out anew which waiting deliveries are due, and which are behind others."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, case, update

from extension_kit.deliveries.notify import notify_workers
from extension_kit.deliveries.resharding import put_into_shards
from extension_kit.deliveries.tables import CLAIMED, DEAD, LATER, READY, WAITING, deliveries


def stage_by_time() -> ColumnElement[str]:
    """Return the stage of a waiting delivery that nobody has looked at yet: ready, or later if it is not due."""
    return case((deliveries.c.due_at > datetime.now(UTC), LATER), else_=READY)


def requeue(connection: Connection, *, from_elsewhere: bool = False) -> int:
    """Make all waiting deliveries ready that are due and not being attempted; return the number of all that wait.

    Args:
        connection: in a transaction that writes.
        from_elsewhere: True: all deliveries come from another database, with other shards; nothing is being
            attempted.
    """
    is_waiting = deliveries.c.status == WAITING
    values: dict[str, Any] = {"stage": stage_by_time()}
    if from_elsewhere:
        values["claimed_at"] = None
        put_into_shards(connection, deliveries.c.status.in_([WAITING, DEAD]))
    else:
        is_waiting &= deliveries.c.stage.is_distinct_from(CLAIMED)
    number = connection.execute(update(deliveries).where(is_waiting).values(values)).rowcount
    notify_workers(connection)
    return number
