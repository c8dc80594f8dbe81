"""Stranded deliveries: deliveries that wait and that no worker would ever find, are found again.

Whatever changes deliveries keeps one of each lock in the sight of workers. All the same one can be lost: after a part
of a backup was restored, or after a change by hand.
"""

import logging

from sqlalchemy import ColumnElement, exists, select, update

from extension_kit.deliveries.notify import notify_workers
from extension_kit.deliveries.requeue import stage_by_time
from extension_kit.deliveries.tables import BEHIND, CLAIMED, WAITING, deliveries
from extension_kit.store.database import Database

logger = logging.getLogger("extension_kit.deliveries")

_MOST = 5000  # deliveries in one transaction
_NAMED = 10  # deliveries in a log line

_other = deliveries.alias()
_has_earlier = exists().where(
    _other.c.lock == deliveries.c.lock, _other.c.status == WAITING, _other.c.ref < deliveries.c.ref
)
# A replayed one is behind later ones that a worker has claimed.
_has_claimed = exists().where(_other.c.lock == deliveries.c.lock, _other.c.stage == CLAIMED)
_LOST: tuple[ColumnElement[bool], ...] = (
    (deliveries.c.status == WAITING) & deliveries.c.stage.is_(None),
    (deliveries.c.status == WAITING) & (deliveries.c.stage == BEHIND) & ~_has_earlier & ~_has_claimed,
)


def requeue_stranded(database: Database) -> int:
    """Make stranded deliveries ready, or later if they are not due; return their number.

    Any number of processes may call this at the same time.

    Raises:
        StoreError: the database cannot be used.
    """
    number = 0
    for lost in _LOST:
        query = select(deliveries.c.ref).where(lost).limit(_MOST)
        while True:
            with database.read() as connection:
                if not (found := connection.execute(query).scalars().all()):
                    break
            with database.transaction() as connection:
                change = update(deliveries).where(deliveries.c.ref.in_(found), lost).values(stage=stage_by_time())
                refs = sorted(connection.execute(change.returning(deliveries.c.ref)).scalars())
                notify_workers(connection)
            number += len(refs)
            if refs:
                named = ", ".join(map(str, refs[:_NAMED])) + (", ..." if len(refs) > _NAMED else "")
                logger.warning("%d waiting deliveries were in no worker's sight, found again: %s", len(refs), named)
    return number
