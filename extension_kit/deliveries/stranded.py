"""Stranded deliveries: waiting deliveries without a job in the engine's queue are queued again.

A delivery and its job are written together, and end together. All the same they can be apart: after a part of a backup
was restored, after a change by hand, or when a database lost a transaction that it had reported as committed.
"""

import logging
from datetime import UTC, datetime, timedelta

from sqlalchemy import select, update

from extension_kit.deliveries.contracts import Job, Queue
from extension_kit.deliveries.tables import WAITING, deliveries
from extension_kit.store.database import Database

logger = logging.getLogger("extension_kit.deliveries")

PATIENCE = timedelta(seconds=30)
"""Minimum time a delivery is overdue before it is checked: by then nearly all have been attempted."""

_MOST = 5000  # deliveries in one transaction
_NAMED = 10  # deliveries in a log line


def take_up(database: Database, queue: Queue) -> int:
    """Give overdue deliveries without a job a new one, behind all waiting jobs. Return the number of these deliveries.

    Any number of processes may call this at the same time.

    Raises:
        StoreError: the database cannot be used.
    """
    taken = 0
    while refs := _take_up_some(database, queue, datetime.now(UTC)):
        taken += len(refs)
        named = ", ".join(map(str, refs[:_NAMED])) + (", ..." if len(refs) > _NAMED else "")
        logger.warning("%d waiting deliveries had no job, queued again: %s", len(refs), named)
    return taken


def _take_up_some(database: Database, queue: Queue, now: datetime) -> list[int]:
    is_overdue = (deliveries.c.status == WAITING, deliveries.c.due_at < now - PATIENCE)
    overdue = select(deliveries.c.ref).where(*is_overdue)
    with database.read() as connection:
        # Nearly always there is none; this check costs one look into an index.
        if connection.execute(overdue.limit(1)).first() is None:
            return []
        found = queue.without_job(connection, overdue, _MOST)
    if not found:
        return []
    with database.transaction() as connection:
        queue.keep_filled(connection)
        refs = queue.without_job(connection, overdue.where(deliveries.c.ref.in_(found)), _MOST)
        # The update makes a delivery no longer overdue, so only one of several processes gets it.
        changed = (deliveries.c.ref, deliveries.c.lock, deliveries.c.listener)
        change = update(deliveries).where(deliveries.c.ref.in_(refs), *is_overdue).values(due_at=now)
        rows = connection.execute(change.returning(*changed)).all()
        queue.defer(connection, [Job(ref, lock, None, listener) for ref, lock, listener in sorted(rows)])
    return sorted(row.ref for row in rows)
