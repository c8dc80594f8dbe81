"""Deliveries of subscriptions: their attempts and ends, for the protocol that shows it to its users. Read only."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, get_args

from sqlalchemy import Connection, Row, select, text, tuple_

from extension_kit.deliveries import tables
from extension_kit.deliveries.queries import ATTEMPT_COLUMNS, Filter, find, history
from extension_kit.deliveries.subscription_matching import listener_key, subscription_ref
from extension_kit.deliveries.tables import bounded
from extension_kit.store.batches import batches

DeliveryStatus = Literal["waiting", "delivered", "dead", "discarded"]
"""Status of a delivery: waiting for its next attempt or in one, delivered, given up, discarded."""

MAX_LIMIT = 1000
"""Maximum number of deliveries returned at once."""

_MAX_REF = 2**63 - 1


@dataclass(frozen=True, slots=True)
class DeliveryAttempt:
    """One attempt of a delivery.

    Attributes:
        number: from 1; attempts before a replay count on.
        result: ``delivered``, ``failed``, ``refused`` (no further attempt makes sense), ``lost`` (its process died),
            ``not ready`` (its function could make no delivery; it does not count) or ``handed back`` (its process was
            stopped; it does not count). None: not known.
        status: HTTP, SMTP or AMQP code of the answer; None without an answer.
        error: reason why it did not succeed, for people; None if it did.
        excerpt: beginning of the answer's text, without secrets.
        started_at: time of its start.
        ended_at: time of its end; None like ``result``.
    """

    number: int
    result: str | None
    status: int | None
    error: str | None
    excerpt: str | None
    started_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class Delivery:
    """An event on its way to a subscription.

    Attributes:
        ref: number of the delivery, never reused; later deliveries have larger numbers.
        subscription: number of the subscription, which may have been removed.
        event_source: source of the event.
        event_id: its id, unique within the source.
        event_name: its name.
        subject: its subject.
        status: ``waiting``, ``delivered``, ``dead`` or ``discarded``.
        attempts: number of attempts begun.
        error: reason why it is waiting for another attempt or was given up; None: no failure so far, or delivered.
        created_at: time at which the event was recorded.
        due_at: time of the next attempt, unless an earlier delivery of the series has to end first; None once it has
            ended.
        ended_at: time of its end; None: waiting.
        last_attempt: the attempt begun last; None without any.
    """

    ref: int
    subscription: int
    event_source: str
    event_id: str
    event_name: str
    subject: str | None
    status: DeliveryStatus
    attempts: int
    error: str | None
    created_at: datetime
    due_at: datetime | None
    ended_at: datetime | None
    last_attempt: DeliveryAttempt | None


def deliveries(
    connection: Connection,
    ref: int,
    *,
    status: DeliveryStatus | None = None,
    before: int | None = None,
    limit: int = 100,
) -> list[Delivery]:
    """Return deliveries of a subscription, newest first.

    For the next page, give the ``ref`` of the last one as ``before``: deliveries that are added or deleted meanwhile
    shift nothing. They are deleted with their events, when these have ended and ``EXTENSION_RETENTION_DAYS`` have gone
    by or the database is too large. Those of a removed subscription are kept as long.

    Args:
        connection: to read with.
        ref: number of the subscription.
        status: only deliveries of this status; None: all.
        before: only deliveries with a smaller ``ref``; None: from the newest on.
        limit: maximum number, from 1 to 1000.

    Raises:
        ValueError: ``status`` or ``limit`` is not one of these.
    """
    return deliveries_of(connection, [ref], status=status, before=before, limit=limit)


def deliveries_of(
    connection: Connection, refs: Collection[int], *, status: DeliveryStatus | None, before: int | None, limit: int
) -> list[Delivery]:
    """Return deliveries of several subscriptions together, newest first; otherwise as ``deliveries``."""
    if status is not None and status not in get_args(DeliveryStatus):
        raise ValueError(
            f"the status of a delivery is one of {', '.join(get_args(DeliveryStatus))}, not {status!r:.80}"
        )
    if not 1 <= limit <= MAX_LIMIT:
        raise ValueError(f"at most {MAX_LIMIT} deliveries can be returned at once, not {limit!r:.80}")
    keys = tuple(listener_key(ref) for ref in refs)
    below = None if before is None else min(max(before, 0), _MAX_REF)
    if not keys:
        return []
    return [_delivery(row) for row in find(connection, Filter(listeners=keys, status=status, below=below), limit)]


def deliveries_of_events(connection: Connection, source: str, wanted: Collection[tuple[int, str]]) -> list[Delivery]:
    """Return the deliveries of given events to given subscriptions, in no order; those that do not exist are left out.

    Args:
        connection: to read with.
        source: source of the events.
        wanted: numbers of subscriptions, each with the id of an event.
    """
    found: list[Delivery] = []
    for some in batches(wanted):
        pairs = [(bounded(event_id), listener_key(ref)) for ref, event_id in some]
        of_events = tables.events.c.source == bounded(source), tables.events.c.event_id.in_({id for id, _ in pairs})
        query = select(tables.deliveries.c.ref).join(tables.events).where(*of_events)
        query = query.where(tuple_(tables.events.c.event_id, tables.deliveries.c.listener).in_(pairs))
        if refs := tuple(connection.execute(query).scalars()):
            found += map(_delivery, find(connection, Filter(refs=refs), len(refs)))
    return found


def attempts(connection: Connection, ref: int, delivery: int) -> list[DeliveryAttempt]:
    """Return the attempts of a delivery, oldest first; none if it does not exist or belongs to another subscription.

    Args:
        connection: to read with.
        ref: number of the subscription.
        delivery: number of the delivery.
    """
    if not 0 < delivery <= _MAX_REF or not find(
        connection, Filter(refs=(delivery,), listeners=(listener_key(ref),)), 1
    ):
        return []
    return [_attempt(row, "") for row in history(connection, delivery)]


def waiting(connection: Connection, refs: Collection[int]) -> set[int]:
    """Return the subscriptions, of those given, that have waiting deliveries."""
    keys: set[str] = set()
    for some in batches(refs):
        listener, status = tables.deliveries.c.listener, tables.deliveries.c.status
        mine = listener.in_([listener_key(ref) for ref in some])
        query = select(listener).where(mine, status == tables.WAITING).distinct()
        keys.update(connection.execute(query).scalars())
    return {ref for ref in refs if listener_key(ref) in keys}


def is_settled(connection: Connection, moment: datetime) -> bool:
    """Return True if every transaction that began before ``moment`` has ended, so its deliveries can be counted.

    Call it in a transaction that writes: SQLite has no other writer then. On PostgreSQL, the sessions that this user
    may see are searched for a transaction that began before ``moment`` and may still commit deliveries.
    """
    if connection.dialect.name == "sqlite":
        return True
    settled: bool = connection.execute(_SETTLED, {"moment": moment}).scalar_one()
    return settled


def _delivery(row: Row[Any]) -> Delivery:
    return Delivery(
        ref=row.ref,
        subscription=subscription_ref(row.listener) or 0,
        event_source=row.source,
        event_id=row.event_id,
        event_name=row.name,
        subject=row.subject,
        status=row.status,
        attempts=row.attempts,
        error=row.error,
        created_at=row.created_at,
        due_at=row.due_at if row.status == tables.WAITING else None,
        ended_at=row.ended_at,
        last_attempt=None if row.last_number is None else _attempt(row, "last_"),
    )


def _attempt(row: Row[Any], prefix: str) -> DeliveryAttempt:
    return DeliveryAttempt(**{name: row._mapping[f"{prefix}{name}"] for name in ATTEMPT_COLUMNS})


_SETTLED = text(
    "SELECT coalesce(min(xact_start), clock_timestamp()) > :moment FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
)
