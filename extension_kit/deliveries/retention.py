"""Removes what is over, so that the database does not grow without bound. What has to be delivered always stays."""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import ColumnElement, String, Table, cast, delete, exists, func, literal, or_, select, tuple_

from extension_kit.deliveries.step_memory import KEEP
from extension_kit.deliveries.subscription_matching import SUBSCRIPTION
from extension_kit.deliveries.tables import DEAD, WAITING, deliveries, events, metadata, series, steps, subscriptions
from extension_kit.errors import StoreFull
from extension_kit.store.database import Database
from extension_kit.store.size import allocated_bytes, live_bytes

# Not the column itself: SQLite would look for the status first, by its index, in all deliveries.
_STATUS = deliveries.c.status.concat("")

_BATCH = 100
_VACUUM_PAGES = 500


class Cleaned(NamedTuple):
    """How many rows were removed; deliveries and attempts go with their event."""

    events: int
    dead_letters: int
    """Those of the events that had a dead letter and were removed before their time, for want of room."""
    series: int
    steps: int
    subscriptions: int


def clean(database: Database, keep_days: float, keep_megabytes: float, now: datetime) -> Cleaned:
    """Remove, in small transactions between which others write,

    * events whose deliveries all ended (delivered, dead or discarded) more than ``keep_days`` ago;
    * while that leaves more than ``keep_megabytes`` (of 1,000,000 bytes), the oldest events whose deliveries have
      ended: first those that were delivered or discarded, then dead letters;
    * series without an event for as long, whose count starts anew; steps older than a day; subscriptions that have
      expired. Of these none with a delivery that is waiting.

    Raises:
        StoreError: the database cannot be used; what was removed so far is gone.
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
        _remove_rows(database, series, (series.c.last_at < horizon) & series.c.key.not_in(waiting_series)),
        _remove_rows(database, steps, steps.c.seen_at < now - KEEP),
        _remove_rows(
            database, subscriptions, (subscriptions.c.expires_at < now) & ~exists().where(of_subscription, waiting)
        ),
    )
    _give_back(database)
    return cleaned


def is_low(database: Database) -> bool:
    """Whether the disk of a SQLite database has no room for more events.

    Raises:
        StoreError: the database cannot be used.
    """
    try:
        with database.read() as connection:
            database.check_room(connection, ahead=True)
    except StoreFull:
        return True
    return False


def allocated(database: Database) -> int:
    """How many bytes a database takes.

    Raises:
        StoreError: the database cannot be used.
    """
    with database.read() as connection:
        return allocated_bytes(connection, metadata)


def make_room(database: Database, keep_megabytes: float, *, shrink: bool) -> int:
    """Do of ``clean`` what cannot wait for its time.

    Args:
        database: where to.
        keep_megabytes: as for ``clean``.
        shrink: whether the disk is almost full, so that first of all the log has to go.

    Returns:
        How many events were removed.

    Raises:
        StoreError: the database cannot be used; what was removed so far is gone.
    """
    if shrink:
        with suppress(StoreFull):
            database.shrink_log()
    removed = sum(_remove_early(database, keep_megabytes))
    _give_back(database)
    return removed


def _remove_early(database: Database, keep_megabytes: float) -> tuple[int, int]:
    """Remove the oldest events while there are too many: first those without a dead letter, then those with one."""
    limit = int(keep_megabytes * 1_000_000)
    early = _shorten(database, _without(_STATUS.in_([WAITING, DEAD])), limit)
    return early, _shorten(database, _without(_STATUS == WAITING), limit)


def _without(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    """Of events: without a delivery of which the condition holds."""
    return ~exists().where(deliveries.c.event_ref == events.c.ref, condition)


def _shorten(database: Database, removable: ColumnElement[bool], limit: int) -> int:
    """Remove events until the database needs no more than ``limit`` bytes, or no event is left to remove."""
    removed = 0
    while most := _too_many(database, limit):
        more = _remove_events(database, removable, most)
        if not more:
            break
        removed += more
    return removed


def _too_many(database: Database, limit: int) -> int:
    """Estimate how many events of average size have to go; what is needed is known only afterwards."""
    with database.read() as connection:
        if allocated_bytes(connection, metadata) <= limit or (live := live_bytes(connection, metadata)) <= limit:
            return 0
        count = connection.execute(select(func.count()).select_from(events)).scalar_one()
    return max(_BATCH, math.ceil(count * (live - limit) / live))


def _remove_events(database: Database, removable: ColumnElement[bool], most: int | None = None) -> int:
    """Remove events, oldest first."""
    place = tuple_(events.c.received_at, events.c.ref)
    found = select(events.c.received_at, events.c.ref).where(removable).order_by(*place.clauses)
    left, after = most, None

    def remove_batch() -> int:
        nonlocal left, after
        query = found.limit(_BATCH if left is None else min(_BATCH, left))
        if after is not None:  # what was passed over before is not looked at again
            query = query.where(place > tuple_(literal(after.received_at, events.c.received_at.type), after.ref))
        with database.read() as connection:
            rows = connection.execute(query).all()
        if not rows:
            return 0
        after = rows[-1]
        removed = _remove_unless_changed(database, [row.ref for row in rows], removable)
        left = None if left is None else left - removed
        return removed

    return _in_batches(remove_batch)


def _remove_unless_changed(database: Database, refs: Sequence[int], removable: ColumnElement[bool]) -> int:
    """Remove those of the events that are still removable: a dead letter may have been replayed in the meantime."""
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
        # On PostgreSQL somebody may be about to change their deliveries or to add one: wait for that, and then look.
        mine = (
            select(events.c.ref).where(events.c.ref.in_(refs)).order_by(events.c.ref).with_for_update(skip_locked=True)
        )
        ours = connection.execute(mine).scalars().all()
        theirs = select(deliveries.c.ref).where(deliveries.c.event_ref.in_(ours)).order_by(deliveries.c.ref)
        connection.execute(theirs.with_for_update()).all()
        return connection.execute(delete(events).where(events.c.ref.in_(ours), removable)).rowcount


def _remove_rows(database: Database, table: Table, condition: ColumnElement[bool]) -> int:
    key = tuple_(*table.primary_key)
    batch = select(*table.primary_key).where(condition).limit(_BATCH).correlate(None)
    removal = delete(table).where(key.in_(batch))

    def remove_batch() -> int:
        with database.transaction() as connection:
            return connection.execute(removal).rowcount

    return _in_batches(remove_batch)


def _give_back(database: Database) -> None:
    """Shrink a SQLite file once a tenth of it is not needed any more; PostgreSQL uses such room again by itself."""
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
            database.shrink_log()  # which they go through
            pages //= 4
            if not pages:
                raise
            return give_back_batch()
        database.shrink_log()
        with database.read() as connection:
            return allocated - allocated_bytes(connection, metadata)

    if database.is_sqlite:
        _in_batches(give_back_batch)


def _in_batches(step: Callable[[], int]) -> int:
    """Repeat a step as long as it does something, and rest after each for as long as it took, so that others can write.

    Returns:
        The sum of what the steps did.
    """
    total = 0
    while True:
        began = time.monotonic()
        if not (done := step()):
            return total
        total += done
        time.sleep(time.monotonic() - began)
