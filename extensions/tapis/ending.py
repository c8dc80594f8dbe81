"""The end of subscriptions: they get no more events, and are removed when their last delivery has ended."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, select, update

from extension_kit.protocol import Host, batches, subscription_groups
from extension_kit.protocol import subscriptions as kit

from .settings import TapisSettings
from .subscriptions import Subscription, locked, remove
from .tables import subscriptions
from .targets import ANY_SUBJECT, SOURCE, Targets, group_of

_REMOVED_AT_ONCE = 200
_SKEW = timedelta(seconds=5)  # between the clocks of the processes that accept events


def end_by_subject(targets: Targets, connection: Connection, tenant: str, subject: str) -> None:
    """End the subscriptions with exactly this subject filter, of any owner: they get no further events.

    ``remove_ended`` removes them when their last delivery has ended.
    """
    if subject == ANY_SUBJECT or "\x00" in subject:  # the filter means all subjects; no filter holds this character
        return
    now = datetime.now(UTC)
    mine = subscriptions.c.tenant == tenant, subscriptions.c.subject_filter == subject
    live = subscriptions.c.ends_at.is_(None) | (subscriptions.c.ends_at > now)
    rows = connection.execute(locked([*mine, live])).all()
    for some in batches(rows):
        these = subscriptions.c.ref.in_([row.ref for row in some])
        connection.execute(update(subscriptions).where(these).values(ends_at=now))
    targets.end(rows, now)


def remove_ended(host: Host, settings: TapisSettings) -> int:
    """Remove expired and ended subscriptions without waiting deliveries, and return their number."""
    after, removed = 0, 0
    while True:
        long_ended = subscriptions.c.ends_at < datetime.now(UTC) - _SKEW
        with host.read() as connection:
            some = select(subscriptions).where(long_ended, subscriptions.c.ref > after)
            found = connection.execute(some.order_by(subscriptions.c.ref).limit(_REMOVED_AT_ONCE)).all()
            idle = [row.ref for row in _idle(connection, found)]
        if idle:
            with host.transaction() as transaction:
                connection, targets = transaction.connection, Targets(transaction.connection, host, settings)
                # Read again under the lock: a request may have extended its time to live meanwhile.
                rows = connection.execute(locked([subscriptions.c.ref.in_(idle), long_ended])).all()
                # Deliveries are counted again as well: an event accepted meanwhile may be for it.
                if rows and kit.is_settled(connection, max(row.ends_at for row in rows) + _SKEW):
                    gone = _idle(connection, rows)
                    remove(targets, connection, *gone)
                    removed += len(gone)
        if len(found) < _REMOVED_AT_ONCE:
            return removed
        after = found[-1].ref


def _idle(connection: Connection, rows: Sequence[Subscription]) -> list[Subscription]:
    waiting = subscription_groups.waiting_groups(connection, SOURCE, [group_of(row) for row in rows])
    return [row for row in rows if group_of(row) not in waiting]
