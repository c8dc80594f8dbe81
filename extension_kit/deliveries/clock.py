"""Deliveries that wait for a time which a clock that has been set back since put too far ahead."""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Connection, and_, bindparam, or_, select, update

from extension_kit.deliveries.contracts import Queue
from extension_kit.deliveries.tables import WAITING, attempts, deliveries
from extension_kit.store.database import Database

logger = logging.getLogger("extension_kit.deliveries")

_DIFFERENCE = timedelta(seconds=60)  # that there may be between the clocks of two machines
_LATEST = 100  # attempts, and waiting deliveries, that show whether the clock was set back
_MOST = 1000  # brought back in one transaction

_last = and_(attempts.c.delivery_ref == deliveries.c.ref, attempts.c.number == deliveries.c.attempts)
_waiting = select(deliveries.c.ref, deliveries.c.due_at, deliveries.c.begun_at, attempts.c.ended_at)
_waiting = _waiting.select_from(deliveries.outerjoin(attempts, _last)).where(deliveries.c.status == WAITING)


class _Early(NamedTuple):
    """A delivery whose wait began in the future: at ``ended_at``, the end of its last attempt, if there was one."""

    ref: int
    due_at: datetime
    begun_at: datetime | None
    ended_at: datetime | None

    def wait(self) -> timedelta:
        """How long it was to wait; without an attempt only its target was at rest, which can be asked at any time."""
        return self.due_at - self.ended_at if self.ended_at else timedelta()


def bring_back(database: Database, queue: Queue) -> int:
    """Let those that wait do so from now on, for as long as was planned, and say how many there were.

    Raises:
        StoreError: the database cannot be used.
    """
    brought = 0
    while found := _find(database, datetime.now(UTC)):
        with database.transaction() as connection:
            _put_right(connection, queue, found, datetime.now(UTC))
        logger.warning("The clock was set back: %d deliveries wait anew, for as long as was planned", len(found))
        brought += len(found)
    return brought


def _find(database: Database, now: datetime) -> Sequence[_Early]:
    moment = now + _DIFFERENCE
    last = select(attempts.c.started_at).order_by(attempts.c.ref.desc()).limit(_LATEST)
    farthest = _waiting.order_by(deliveries.c.due_at.desc()).limit(_LATEST)
    with database.read() as connection:
        is_set_back = any(at > moment for at in connection.execute(last).scalars()) or any(
            row.begun_at and row.begun_at > moment for row in connection.execute(farthest)
        )
        if not is_set_back:
            return []
        began = or_(attempts.c.ended_at > moment, and_(attempts.c.ended_at.is_(None), deliveries.c.begun_at > moment))
        rows = connection.execute(_waiting.where(deliveries.c.due_at > moment, began).limit(_MOST))
        return [_Early(*row) for row in rows]


def _put_right(connection: Connection, queue: Queue, found: Sequence[_Early], now: datetime) -> None:
    waits = {early.ref: early.wait() for early in found}
    changes = [
        {"of": early.ref, "due": now + waits[early.ref], "begun": min(early.begun_at or now, now)} for early in found
    ]
    change = update(deliveries).where(deliveries.c.ref == bindparam("of"), deliveries.c.status == WAITING)
    connection.execute(change.values(due_at=bindparam("due"), begun_at=bindparam("begun")), changes)
    # Else it would be found again, and wait anew for ever.
    stamps = update(attempts).where(attempts.c.delivery_ref == bindparam("of"))
    for stamp in (attempts.c.started_at, attempts.c.ended_at):
        connection.execute(stamps.where(stamp > now).values({stamp: now}), [{"of": early.ref} for early in found])
    queue.put_forward(connection, {ref: wait.total_seconds() for ref, wait in waits.items()})
