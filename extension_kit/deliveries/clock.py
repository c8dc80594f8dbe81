"""Clock changes: reschedules waiting deliveries that are due too late because the clock was set back."""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Connection, and_, bindparam, or_, select, update

from extension_kit.deliveries.notify import notify_workers
from extension_kit.deliveries.tables import WAITING, attempts, deliveries
from extension_kit.store.database import Database

logger = logging.getLogger("extension_kit.deliveries")

_DIFFERENCE = timedelta(seconds=60)  # the clocks of two machines may differ by so much
_LATEST = 100  # attempts and waiting deliveries to read for finding out if the clock was set back
_MOST = 1000  # deliveries in one transaction

_last = and_(attempts.c.delivery_ref == deliveries.c.ref, attempts.c.number == deliveries.c.attempts)
_first = deliveries.c.first_attempt_at.label("first_attempt_at")
_waiting = select(deliveries.c.ref, deliveries.c.due_at, _first, attempts.c.ended_at)
_waiting = _waiting.select_from(deliveries.outerjoin(attempts, _last)).where(deliveries.c.status == WAITING)


class _Early(NamedTuple):
    """A delivery with a wait that began in the future, at ``ended_at``: the end of its last attempt, if any."""

    ref: int
    due_at: datetime
    first_attempt_at: datetime | None
    ended_at: datetime | None

    def wait(self) -> timedelta:
        """Return the planned wait; 0 without an attempt, because then only the target was at rest."""
        return self.due_at - self.ended_at if self.ended_at else timedelta()


def reschedule_early(database: Database) -> int:
    """Reschedule early deliveries: each waits from now on for as long as was planned. Return their number.

    Raises:
        StoreError: the database cannot be used.
    """
    brought = 0
    while found := _find(database, datetime.now(UTC)):
        with database.transaction() as connection:
            _reschedule(connection, found, datetime.now(UTC))
        logger.warning("The clock was set back: %d deliveries rescheduled", len(found))
        brought += len(found)
    return brought


def _find(database: Database, now: datetime) -> Sequence[_Early]:
    moment = now + _DIFFERENCE
    last = select(attempts.c.started_at).order_by(attempts.c.ref.desc()).limit(_LATEST)
    farthest = _waiting.order_by(deliveries.c.due_at.desc()).limit(_LATEST)
    with database.read() as connection:
        is_set_back = any(at > moment for at in connection.execute(last).scalars()) or any(
            row.first_attempt_at and row.first_attempt_at > moment for row in connection.execute(farthest)
        )
        if not is_set_back:
            return []
        never_ended = attempts.c.ended_at.is_(None) & (deliveries.c.first_attempt_at > moment)
        began = or_(attempts.c.ended_at > moment, never_ended)
        rows = connection.execute(_waiting.where(deliveries.c.due_at > moment, began).limit(_MOST))
        return [_Early(*row) for row in rows]


def _reschedule(connection: Connection, found: Sequence[_Early], now: datetime) -> None:
    waits = {early.ref: early.wait() for early in found}
    changes = [
        {"of": early.ref, "due": now + waits[early.ref], "first": min(early.first_attempt_at or now, now)}
        for early in found
    ]
    change = update(deliveries).where(deliveries.c.ref == bindparam("of"), deliveries.c.status == WAITING)
    connection.execute(change.values(due_at=bindparam("due"), first_attempt_at=bindparam("first")), changes)
    # Otherwise the delivery would be found again, and wait anew for ever.
    stamps = update(attempts).where(attempts.c.delivery_ref == bindparam("of"))
    for stamp in (attempts.c.started_at, attempts.c.ended_at):
        connection.execute(stamps.where(stamp > now).values({stamp: now}), [{"of": early.ref} for early in found])
    notify_workers(connection)
