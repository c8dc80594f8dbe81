"""Paused receivers: workers begin no attempt for them until they are resumed; their deliveries wait, in order.

The row of a receiver that was resumed is kept for a while: its deliveries must not be dead because of the pause.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, delete, exists, func, or_, select, update

from extension_kit.deliveries.notify import notify_workers
from extension_kit.deliveries.subscription_matching import subscription_ref
from extension_kit.deliveries.tables import WAITING, bounded, deliveries, paused_receivers, subscriptions
from extension_kit.errors import ExtensionKitError
from extension_kit.store.database import Database
from extension_kit.store.types import from_driver_time
from extension_kit.store.upsert import upsert

MOST = 1000
"""Maximum number of paused receivers: every worker has them all in mind."""

_c = paused_receivers.c
_IS_PAUSED = _c.resumed_at.is_(None)


class TooManyPaused(ExtensionKitError):
    """No further receiver can be paused; nothing was changed."""


class Paused(NamedTuple):
    """Pause of a receiver: when it began, and the name of the person or of the command line that made it."""

    since: datetime
    by: str


class Pauses(NamedTuple):
    """Receivers as workers know them.

    Attributes:
        paused: keys of those that are paused.
        resumed: the time at which others were resumed, by key.
        probed: keys of those that get one attempt at a time.
    """

    paused: frozenset[str] = frozenset()
    resumed: Mapping[str, datetime] = {}
    probed: frozenset[str] = frozenset()


def pause(connection: Connection, listener: str, by: str) -> bool:
    """Pause a receiver. Workers know it within about half a second; attempts in progress end as usual.

    Args:
        connection: in a transaction that writes, which is to be rolled back for an error.
        listener: key of a function, or ``subscription:<ref>``.
        by: name of the person or of the command line that pauses it.

    Returns:
        False if it is paused already; the earlier pause stays as it is.

    Raises:
        TooManyPaused: 1,000 receivers are paused.
    """
    key = bounded(listener)
    known = select(_c.resumed_at).where(_c.listener == key).with_for_update()
    row = connection.execute(known).one_or_none()
    if row is not None and row.resumed_at is None:
        return False
    if connection.execute(select(func.count()).where(_IS_PAUSED)).scalar_one() >= MOST:
        raise TooManyPaused(f"{MOST:,} receivers are paused, and no more can be: resume some of them first")
    values = {"listener": key, "paused_at": datetime.now(UTC), "paused_by": bounded(by), "resumed_at": None}
    upsert(connection, paused_receivers, values, update=("paused_at", "paused_by", "resumed_at"))
    notify_workers(connection)
    return True


def resume(connection: Connection, listener: str) -> bool:
    """Resume a receiver: workers attempt its due deliveries at once. The pause uses up no retry schedule.

    A delivery is dead if its target still rests when its schedule would be over. For those that were attempted before
    the pause, this time is reckoned from now on.

    Args:
        connection: in a transaction that writes.
        listener: key of a function, or ``subscription:<ref>``.

    Returns:
        False if it is not paused.
    """
    resumed = update(paused_receivers).where(_c.listener == bounded(listener), _IS_PAUSED)
    was_paused = connection.execute(resumed.values(resumed_at=datetime.now(UTC))).rowcount == 1
    if was_paused:
        notify_workers(connection)
    return was_paused


def paused(connection: Connection) -> dict[str, Paused]:
    """Return the paused receivers by key, in the order of their keys."""
    rows = connection.execute(select(paused_receivers).where(_IS_PAUSED).order_by(_c.listener))
    return {row.listener: Paused(row.paused_at, row.paused_by) for row in rows}


def read_pauses(connection: Connection) -> Pauses:
    """Return the receivers as workers know them. Workers ask often, so past SQLAlchemy."""
    driver: Any = connection.connection.driver_connection
    rows = driver.execute(_PAUSES).fetchall()
    resumed = {listener: from_driver_time(time) for listener, time in rows if time is not None}
    return Pauses(frozenset(listener for listener, time in rows if time is None), resumed)


def forget_pauses(database: Database) -> int:
    """Delete rows that no worker needs; return their number.

    These are the rows of receivers that were resumed, if no delivery waits that was attempted before, and pauses of
    subscriptions that were removed, if no delivery waits.

    Raises:
        StoreError: the database cannot be used.
    """
    waits = (deliveries.c.listener == _c.listener) & (deliveries.c.status == WAITING)
    was_attempted = exists().where(waits, deliveries.c.first_attempt_at < _c.resumed_at)
    unused = or_(~_IS_PAUSED & ~was_attempted, _IS_PAUSED & ~exists().where(waits))
    with database.read() as connection:
        rows = connection.execute(select(_c.listener, _c.resumed_at).where(unused)).all()
        refs = {ref for row in rows if (ref := subscription_ref(row.listener)) is not None}
        there = set(connection.execute(select(subscriptions.c.ref).where(subscriptions.c.ref.in_(refs))).scalars())
    gone = refs - there
    removed = [row.listener for row in rows if row.resumed_at or subscription_ref(row.listener) in gone]
    if removed:
        with database.transaction() as connection:
            connection.execute(delete(paused_receivers).where(_c.listener.in_(removed), unused))
    return len(removed)


_PAUSES = "SELECT listener, resumed_at FROM paused_receivers"
