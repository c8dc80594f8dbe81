"""Queries: finds and counts deliveries by filter, and reads the attempts of one. Read only."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    String,
    bindparam,
    cast,
    func,
    literal,
    literal_column,
    select,
)

from extension_kit.deliveries.sender_pool import PROTOCOL
from extension_kit.deliveries.subscription_matching import SUBSCRIPTION
from extension_kit.deliveries.tables import (
    DELIVERY_COLUMNS,
    WAITING,
    attempts,
    bounded,
    deliveries,
    events,
    subscriptions,
)
from extension_kit.deliveries.text_conditions import MatchesPattern, begins_with

_COUNTED_AT_ONCE = 100_000  # numbers
_MOST_PORTIONS = 200


@dataclass(frozen=True, slots=True)
class Filter:
    """Conditions on deliveries, combined by AND; an argument that is not given is no condition.

    Args:
        refs: the deliveries' numbers.
        status: ``waiting``, ``delivered``, ``dead`` or ``discarded``.
        listener: the beginning of the listener's key.
        listeners: whole keys of listeners.
        event_name: the event's name.
        event_pattern: a pattern that the event's name matches, such as ``experiment.execution.*``.
        event_id: the event's id.
        subject: the event's subject.
        source: the event's source.
        error: a text that the error of the last attempt contains. Upper and lower case are the same, on SQLite those
            of ASCII letters only.
        before: created before this time.
        after: created after this time.
        below: of a smaller number.
    """

    refs: tuple[int, ...] = ()
    status: str | None = None
    listener: str | None = None
    listeners: tuple[str, ...] = ()
    event_name: str | None = None
    event_pattern: str | None = None
    event_id: str | None = None
    subject: str | None = None
    source: str | None = None
    error: str | None = None
    before: datetime | None = None
    after: datetime | None = None
    below: int | None = None

    def conditions(self) -> Iterator[ColumnElement[bool]]:
        """Yield the filter as conditions on deliveries joined with their events."""
        if self.refs:
            yield deliveries.c.ref.in_(self.refs)
        if self.status:
            # As a part of the statement: SQLite then knows which rows the indexes of waiting and of ended ones have.
            yield deliveries.c.status == bindparam(None, self.status, String(), unique=True, literal_execute=True)
            if self.status != WAITING:
                yield _HAS_ENDED
        if self.listener:
            yield begins_with(deliveries.c.listener, self.listener)
        if self.listeners:
            yield deliveries.c.listener.in_(self.listeners)
        yield from self.conditions_on_events()
        if self.error:
            yield deliveries.c.error.icontains(self.error, autoescape=True)
        if self.before:
            yield deliveries.c.created_at < self.before
        if self.after:
            yield deliveries.c.created_at > self.after
        if self.below is not None:
            yield self.number < self.below

    def conditions_on_events(self) -> Iterator[ColumnElement[bool]]:
        """Yield the filter's conditions on events."""
        if self.event_name:
            yield events.c.name == bounded(self.event_name)
        if self.event_pattern:
            yield MatchesPattern(events.c.name, self.event_pattern)
        if self.event_id:
            yield events.c.event_id == bounded(self.event_id)
        if self.subject:
            yield events.c.subject == bounded(self.subject)
        if self.source:
            yield events.c.source == bounded(self.source)

    @property
    def is_on_events(self) -> bool:
        """True if deliveries have to be joined with their events."""
        return any(True for _ in self.conditions_on_events())

    @property
    def number(self) -> ColumnElement[int]:
        """The deliveries' number, as a filter compares and sorts by it."""
        if self.listeners:
            # Not the column itself: stores would go through the deliveries of all listeners, newest first.
            return deliveries.c.ref + literal_column("0")
        return deliveries.c.ref


def find(connection: Connection, wanted: Filter, limit: int) -> Sequence[Row[Any]]:
    """Return deliveries, newest first: their columns, and some of their events and of their last attempts.

    Args:
        connection: to read with.
        wanted: filter.
        limit: maximum number.

    Returns:
        Rows with the columns of deliveries; ``source``, ``event_id``, ``name`` and ``subject`` of the event; and
        the columns of the attempt that was begun last, if any, as ``last_number``, ``last_result`` and so on.
    """
    newest = select(deliveries.c.ref).where(*wanted.conditions()).order_by(wanted.number.desc()).limit(limit)
    if wanted.is_on_events:
        newest = newest.join(events)
    query: Select[Any] = select(*DELIVERY_COLUMNS, *_OF_EVENT, *_OF_LAST).join_from(deliveries, events)
    query = query.outerjoin(attempts, _IS_LAST).where(deliveries.c.ref.in_(newest))
    return connection.execute(query.order_by(deliveries.c.ref.desc())).all()


def count(connection: Connection, wanted: Filter) -> int:
    """Return the number of deliveries that match a filter.

    All but waiting ones are counted in portions by number, so that no statement takes long.
    """
    query = select(func.count()).select_from(deliveries).where(*wanted.conditions())
    if wanted.is_on_events:
        query = query.join(events)
    ref = deliveries.c.ref
    ends = select(select(func.min(ref)).scalar_subquery(), select(func.max(ref)).scalar_subquery())
    lowest, highest = connection.execute(ends).one()
    if wanted.refs or wanted.status == WAITING or lowest is None:  # the index of those that wait has another order
        return connection.execute(query).scalar_one()
    step = max(_COUNTED_AT_ONCE, (highest - lowest) // _MOST_PORTIONS)
    return sum(
        connection.execute(query.where(ref >= first, ref < first + step)).scalar_one()
        for first in range(lowest, highest + 1, step)
    )


def attempted_by_protocols(connection: Connection, wanted: Filter) -> dict[str, int]:
    """Return the number of matching deliveries that event protocols attempt themselves, by protocol."""
    key = literal(SUBSCRIPTION) + cast(subscriptions.c.ref, String)
    query = select(subscriptions.c.protocol, func.count().label("number")).select_from(deliveries).join(events)
    query = query.join(subscriptions, deliveries.c.listener == key).where(subscriptions.c.sender == PROTOCOL)
    found = connection.execute(query.where(*wanted.conditions()).group_by(subscriptions.c.protocol))
    return {row.protocol: row.number for row in found}


def body_of(connection: Connection, ref: int) -> bytes:
    """Return the body of a delivery's event; the delivery must exist."""
    query = select(events.c.body).join(deliveries).where(deliveries.c.ref == ref)
    body: bytes = connection.execute(query).scalar_one()
    return body


def history(connection: Connection, ref: int) -> Sequence[Row[Any]]:
    """Return the attempts of a delivery, oldest first."""
    query = select(attempts).where(attempts.c.delivery_ref == ref).order_by(attempts.c.number)
    return connection.execute(query).all()


ATTEMPT_COLUMNS = ("number", "result", "status", "error", "excerpt", "started_at", "ended_at")
"""Columns of attempts that show how one went."""

_HAS_ENDED = deliveries.c.status != literal_column(f"'{WAITING}'")
_OF_EVENT = (events.c.source, events.c.event_id, events.c.name, events.c.subject)
_OF_LAST = [attempts.c[name].label(f"last_{name}") for name in ATTEMPT_COLUMNS]
_IS_LAST = (attempts.c.delivery_ref == deliveries.c.ref) & (attempts.c.number == deliveries.c.attempts)
