"""Retention: deletes ended events by age and size, unused series and steps, and expired subscriptions."""

import math
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import ColumnElement, String, cast, delete, exists, func, literal, or_, select, tuple_

from extension_kit.deliveries.action_rows import forget_actions
from extension_kit.deliveries.pauses import forget_pauses
from extension_kit.deliveries.state_rows import remove_expired
from extension_kit.deliveries.step_memory import KEEP
from extension_kit.deliveries.subscription_matching import SUBSCRIPTION
from extension_kit.deliveries.tables import (
    DEAD,
    WAITING,
    deliveries,
    events,
    metadata,
    series,
    steps,
    subscriptions,
    workers,
)
from extension_kit.deliveries.worker_rows import KEEP as KEEP_WORKERS
from extension_kit.errors import StoreFull
from extension_kit.store.batches import delete_in_batches, repeat
from extension_kit.store.database import Database
from extension_kit.store.size import allocated_bytes, live_bytes

# Not the column itself: SQLite would search all deliveries by the index of the status first.
_STATUS = deliveries.c.status.concat("")

_BATCH = 100
_VACUUM_PAGES = 500
_LOW = 3.0  # times the space that has to be left: more than the inbox leaves


class Cleaned(NamedTuple):
    """Numbers of deleted rows; deliveries and attempts are deleted with their event."""

    events: int
    dead_letters: int
    """Number of these events that had a dead letter and were deleted early, to free space."""
    series: int
    steps: int
    subscriptions: int
    workers: int = 0
    pauses: int = 0
    actions: int = 0
    state: int = 0


def clean(database: Database, keep_days: float, keep_megabytes: float, now: datetime) -> Cleaned:
    """Delete in small transactions, so that others can write in between:

    * events, if all their deliveries ended (delivered, dead or discarded) more than ``keep_days`` ago;
    * while the database is larger than ``keep_megabytes`` (of 1,000,000 bytes), the oldest events with ended
      deliveries: first those without a dead letter, then those with one;
    * series without an event for as long (their count starts anew); steps older than a day; expired subscriptions.
      Series and subscriptions with a waiting delivery are kept;
    * rows of people's actions begun as long ago, and all but the newest 10,000;
    * rows of workers without a sign of life for a day, and of pauses that nobody needs (``forget_pauses``);
    * values of extensions' states whose time is over.

    Raises:
        StoreError: the database cannot be used; events removed before stay removed.
    """
    horizon = now - timedelta(days=keep_days)
    waiting = deliveries.c.status == WAITING
    waiting_series = select(deliveries.c.series).where(waiting, deliveries.c.series.is_not(None))
    of_subscription = deliveries.c.listener == SUBSCRIPTION + cast(subscriptions.c.ref, String)
    over = _without(or_(_STATUS == WAITING, deliveries.c.ended_at >= horizon)) & (events.c.received_at < horizon)
    old = _remove_events(database, over)
    early, dead = _remove_early(database, keep_megabytes)
    cleaned = Cleaned(
        old + early + dead,
        dead,
        delete_in_batches(database, series, (series.c.last_at < horizon) & series.c.key.not_in(waiting_series)),
        delete_in_batches(database, steps, steps.c.seen_at < now - KEEP),
        delete_in_batches(
            database, subscriptions, (subscriptions.c.expires_at < now) & ~exists().where(of_subscription, waiting)
        ),
        delete_in_batches(database, workers, workers.c.seen_at < now - KEEP_WORKERS),
        forget_pauses(database),
        forget_actions(database, horizon),
        remove_expired(database, now),
    )
    _give_back(database)
    return cleaned


def is_low(database: Database) -> bool:
    """Return True if the disk of a SQLite database has no room for more events.

    Raises:
        StoreError: the database cannot be used.
    """
    try:
        with database.read() as connection:
            database.check_room(connection, share=_LOW)
    except StoreFull:
        return True
    return False


def allocated(database: Database) -> int:
    """Return the size of a database in bytes.

    Raises:
        StoreError: the database cannot be used.
    """
    with database.read() as connection:
        return allocated_bytes(connection, metadata)


def make_room(database: Database, keep_megabytes: float, *, shrink: bool) -> int:
    """Delete ended events by database size only, before the next ``clean``.

    Args:
        database: holds the events.
        keep_megabytes: as for ``clean``.
        shrink: True if the disk is almost full: shrink the write-ahead log first.

    Returns:
        The number of deleted events.

    Raises:
        StoreError: the database cannot be used; events removed before stay removed.
    """
    if shrink:
        with suppress(StoreFull):
            database.shrink_log()
    removed = sum(_remove_early(database, keep_megabytes))
    _give_back(database)
    return removed


def _remove_early(database: Database, keep_megabytes: float) -> tuple[int, int]:
    """Delete the oldest events while the database is too large: first those without a dead letter, then the others."""
    limit = int(keep_megabytes * 1_000_000)
    early = _shorten(database, _without(_STATUS.in_([WAITING, DEAD])), limit)
    return early, _shorten(database, _without(_STATUS == WAITING), limit)


def _without(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    """Return the condition on events to have no delivery for which ``condition`` holds."""
    return ~exists().where(deliveries.c.event_ref == events.c.ref, condition)


def _shorten(database: Database, removable: ColumnElement[bool], limit: int) -> int:
    """Delete events until the database needs at most ``limit`` bytes, or no removable event is left."""
    removed = 0
    while most := _too_many(database, limit):
        more = _remove_events(database, removable, most)
        if not more:
            break
        removed += more
    return removed


def _too_many(database: Database, limit: int) -> int:
    """Estimate how many events of average size have to be deleted; the true number is known only afterwards."""
    with database.read() as connection:
        if allocated_bytes(connection, metadata) <= limit or (live := live_bytes(connection, metadata)) <= limit:
            return 0
        count = connection.execute(select(func.count()).select_from(events)).scalar_one()
    return max(_BATCH, math.ceil(count * (live - limit) / live))


def _remove_events(database: Database, removable: ColumnElement[bool], most: int | None = None) -> int:
    """Delete events, oldest first; return their number."""
    place = tuple_(events.c.received_at, events.c.ref)
    found = select(events.c.received_at, events.c.ref).where(removable).order_by(*place.clauses)
    left, after = most, None

    def remove_batch() -> int:
        nonlocal left, after
        query = found.limit(_BATCH if left is None else min(_BATCH, left))
        if after is not None:  # events passed over before are not read again
            query = query.where(place > tuple_(literal(after.received_at, events.c.received_at.type), after.ref))
        with database.read() as connection:
            rows = connection.execute(query).all()
        if not rows:
            return 0
        after = rows[-1]
        removed = _remove_unless_changed(database, [row.ref for row in rows], removable)
        left = None if left is None else left - removed
        return removed

    return repeat(remove_batch)


def _remove_unless_changed(database: Database, refs: Sequence[int], removable: ColumnElement[bool]) -> int:
    """Delete the events that are still removable: a dead letter may have been replayed in the meantime."""
    try:
        return _remove_at_once(database, refs, removable)
    except StoreFull:
        half = len(refs) // 2
        if not half:
            raise
        database.shrink_log()
        return sum(_remove_unless_changed(database, part, removable) for part in (refs[:half], refs[half:]))


def _remove_at_once(database: Database, refs: Sequence[int], removable: ColumnElement[bool]) -> int:
    with database.transaction() as connection:
        # On PostgreSQL another transaction may be changing or adding deliveries: wait for it before the check.
        mine = (
            select(events.c.ref).where(events.c.ref.in_(refs)).order_by(events.c.ref).with_for_update(skip_locked=True)
        )
        ours = connection.execute(mine).scalars().all()
        theirs = select(deliveries.c.ref).where(deliveries.c.event_ref.in_(ours)).order_by(deliveries.c.ref)
        connection.execute(theirs.with_for_update()).all()
        return connection.execute(delete(events).where(events.c.ref.in_(ours), removable)).rowcount


def _give_back(database: Database) -> None:
    """Shrink a SQLite file once a tenth of it is unused; PostgreSQL reuses such space by itself."""
    pages = _VACUUM_PAGES

    def give_back_batch() -> int:
        nonlocal pages
        with database.read() as connection:
            allocated, live = allocated_bytes(connection, metadata), live_bytes(connection, metadata)
        if allocated - live < allocated / 10:
            return 0
        try:
            database.vacuum(pages)
        except StoreFull:
            database.shrink_log()  # freed pages are written to the log first
            pages //= 4
            if not pages:
                raise
            return give_back_batch()
        database.shrink_log()
        with database.read() as connection:
            return allocated - allocated_bytes(connection, metadata)

    if database.is_sqlite:
        repeat(give_back_batch)
