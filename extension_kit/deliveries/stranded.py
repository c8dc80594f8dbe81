"""Deliveries that wait although there is no job for them in the engine's queue, so that nobody would ever make them.

A delivery and its job are written together, and end together. All the same they can be apart: after a part of a backup
was restored, something was changed by hand, or a database lost what it had said it had kept.
"""

import logging
from datetime import UTC, datetime, timedelta

from sqlalchemy import select, update

from extension_kit.deliveries.contracts import Job, Queue
from extension_kit.deliveries.tables import WAITING, deliveries
from extension_kit.store.database import Database

logger = logging.getLogger("extension_kit.deliveries")

PATIENCE = timedelta(seconds=30)
"""How long a delivery is overdue before it is looked for: by then nearly all have been attempted, and cost nothing."""

_MOST = 5000  # taken up in one transaction
_NAMED = 10  # in a line of the log


def take_up(database: Database, queue: Queue) -> int:
    """Give those that are overdue a job, behind all that wait already, and say how many there were.

    Any number of processes may do it at the same time.

    Raises:
        StoreError: the database cannot be used.
    """
    taken = 0
    while refs := _take_up_some(database, queue, datetime.now(UTC)):
        taken += len(refs)
        named = ", ".join(map(str, refs[:_NAMED])) + (", ..." if len(refs) > _NAMED else "")
        logger.warning(
            "%d deliveries waited although nothing was to attempt them, and are taken up: %s", len(refs), named
        )
    return taken


def _take_up_some(database: Database, queue: Queue, now: datetime) -> list[int]:
    is_overdue = (deliveries.c.status == WAITING, deliveries.c.due_at < now - PATIENCE)
    overdue = select(deliveries.c.ref).where(*is_overdue)
    with database.read() as connection:
        # At rest there is none, which costs a look into an index.
        if connection.execute(overdue.limit(1)).first() is None:
            return []
        found = queue.without_job(connection, overdue, _MOST)
    if not found:
        return []
    with database.transaction() as connection:
        queue.keep_filled(connection)
        refs = queue.without_job(connection, overdue.where(deliveries.c.ref.in_(found)), _MOST)
        # Whoever changes a row here makes it one that is not overdue: of several processes, one gets it.
        changed = (deliveries.c.ref, deliveries.c.lock, deliveries.c.listener)
        change = update(deliveries).where(deliveries.c.ref.in_(refs), *is_overdue).values(due_at=now)
        rows = connection.execute(change.returning(*changed)).all()
        queue.defer(connection, [Job(ref, lock, None, listener) for ref, lock, listener in sorted(rows)])
    return sorted(row.ref for row in rows)
