"""Expiry of subscriptions: they get no more events, and are removed when their last delivery has ended."""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, select, tuple_, update

from extension_kit.protocol import Kit, batches, subscription_groups
from extension_kit.protocol import subscriptions as kit_subscriptions

from .delivery_targets import ANY_SUBJECT, SOURCE, Targets, group_of
from .settings import TapisSettings
from .subscriptions import Subscription, remove, select_locked
from .tables import subscriptions

_BATCH = 200
_SKEW = timedelta(seconds=5)  # between the clocks of the processes that accept events


def lock_by_subject(connection: Connection, subjects: Collection[tuple[str, str]]) -> None:
    """Lock the subscriptions that ``end_by_subject`` would end, in one order, so that two transactions cannot deadlock.

    Args:
        connection: of a transaction.
        subjects: pairs of a tenant and a subject.
    """
    if wanted := [pair for pair in subjects if _may_end(pair[1])]:
        mine = tuple_(subscriptions.c.tenant, subscriptions.c.subject_filter).in_(wanted)
        connection.execute(select_locked([mine])).close()


def end_by_subject(targets: Targets, connection: Connection, tenant: str, subject: str) -> None:
    """End the subscriptions with exactly this subject filter, of any owner: they get no further events.

    ``remove_ended`` removes them when their last delivery has ended.
    """
    if not _may_end(subject):
        return
    now = datetime.now(UTC)
    mine = subscriptions.c.tenant == tenant, subscriptions.c.subject_filter == subject
    live = subscriptions.c.ends_at.is_(None) | (subscriptions.c.ends_at > now)
    rows = connection.execute(select_locked([*mine, live])).all()
    for some in batches(rows):
        these = subscriptions.c.ref.in_([row.ref for row in some])
        connection.execute(update(subscriptions).where(these).values(ends_at=now))
    targets.end(rows, now)


def remove_ended(kit: Kit, settings: TapisSettings) -> int:
    """Remove expired and ended subscriptions without waiting deliveries, and return their number."""
    after, removed = 0, 0
    while True:
        long_ended = subscriptions.c.ends_at < datetime.now(UTC) - _SKEW
        with kit.read() as connection:
            some = select(subscriptions).where(long_ended, subscriptions.c.ref > after)
            found = connection.execute(some.order_by(subscriptions.c.ref).limit(_BATCH)).all()
            idle = [row.ref for row in _idle(connection, found)]
        if idle:
            with kit.transaction() as transaction:
                connection, targets = transaction.connection, Targets(transaction.connection, kit, settings)
                # Read again under the lock: a request may have extended its time to live meanwhile.
                rows = connection.execute(select_locked([subscriptions.c.ref.in_(idle), long_ended])).all()
                # Deliveries are counted again as well: an event accepted meanwhile may be for it.
                if rows and kit_subscriptions.is_settled(connection, max(row.ends_at for row in rows) + _SKEW):
                    gone = _idle(connection, rows)
                    remove(targets, connection, *gone)
                    removed += len(gone)
        if len(found) < _BATCH:
            return removed
        after = found[-1].ref


def _may_end(subject: str) -> bool:
    """Return False for the filter that means all subjects, and for what no filter holds: U+0000."""
    return subject != ANY_SUBJECT and "\x00" not in subject


def _idle(connection: Connection, rows: Sequence[Subscription]) -> list[Subscription]:
    waiting = subscription_groups.waiting_groups(connection, SOURCE, [group_of(row) for row in rows])
    return [row for row in rows if group_of(row) not in waiting]
