"""Inbox rows: groups of events that are not filed yet, read, added and removed within a transaction."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import orjson
from sqlalchemy import ColumnElement, Connection, delete, func, insert, select

from extension_kit.deliveries.inbox_tables import inbox
from extension_kit.store.types import UtcDateTime

_EVENTS, _ROWS, _BYTES = 512, 64, 4 * 1024 * 1024  # filed at once
_SPAN = timedelta(seconds=1)  # between the events that are filed at once
_TRY_AGAIN = timedelta(minutes=1)  # after which an event that was set aside is filed again


Head = tuple[int, Sequence[str]] | tuple[int, Sequence[str], str]
"""Head of an event in the inbox: its size in bytes, the keys of its listeners, and its trace context if it has one."""


class InboxEvent(NamedTuple):
    """An event in the inbox: its body, the keys of its listeners, and its trace context if it has one."""

    body: bytes
    listeners: list[str]
    trace_context: str | None = None


class Group(NamedTuple):
    """A row of the inbox: events that were committed together."""

    ref: int
    received_at: datetime
    events: list[InboxEvent]


class Unfiled(NamedTuple):
    """The number of events that are not filed yet, and the time at which the oldest was received; None without any."""

    events: int
    since: datetime | None


def head_of(size: int, listeners: Sequence[str], trace_context: str | None) -> Head:
    """Return the head of an event."""
    return (size, listeners, trace_context) if trace_context else (size, listeners)


def oldest_groups(connection: Connection, now: datetime) -> list[Group]:
    """Read the oldest events, as many as are filed at once.

    Args:
        connection: to the database of the inbox.
        now: aware; events that were set aside are read again after a while.
    """
    is_due = inbox.c.set_aside_at.is_(None) | (inbox.c.set_aside_at < now - _TRY_AGAIN)
    size = func.length(inbox.c.bodies)
    found = connection.execute(
        select(inbox.c.ref, inbox.c.received_at, inbox.c.events, size.label("bytes"))
        .where(is_due)
        .order_by(inbox.c.ref)
        .limit(_ROWS)
    ).all()
    refs: list[int] = []
    events = bytes = 0
    for row in found:
        events, bytes = events + row.events, bytes + row.bytes
        is_far = abs(row.received_at - found[0].received_at) > _SPAN
        if refs and (is_far or events > _EVENTS or bytes > _BYTES):
            break
        refs.append(row.ref)
    return list(_groups(connection, inbox.c.ref.in_(refs))) if refs else []


def all_groups(connection: Connection) -> Iterator[Group]:
    """Read all events, oldest first, a row at a time."""
    for ref in connection.execute(select(inbox.c.ref).order_by(inbox.c.ref)).scalars().all():
        yield from _groups(connection, inbox.c.ref == ref)


def count_events(connection: Connection) -> Unfiled:
    """Count the events."""
    oldest = func.min(inbox.c.received_at, type_=UtcDateTime())
    number, since = connection.execute(select(func.coalesce(func.sum(inbox.c.events), 0), oldest)).one()
    return Unfiled(int(number), since)


def remove_groups(connection: Connection, groups: Sequence[Group]) -> set[int]:
    """Remove events that are filed, and return the refs of those that nobody had removed before."""
    removal = delete(inbox).where(inbox.c.ref.in_([group.ref for group in groups])).returning(inbox.c.ref)
    return set(connection.execute(removal).scalars())


def add_group(connection: Connection, group: Group, set_aside_at: datetime | None = None) -> None:
    """Add events that were received earlier.

    Args:
        connection: of a transaction.
        group: the events; its ref is not used.
        set_aside_at: the time at which filing them failed; None: they were not tried.
    """
    heads = [head_of(len(body), listeners, trace_context) for body, listeners, trace_context in group.events]
    values = {
        "received_at": group.received_at,
        "set_aside_at": set_aside_at,
        "events": len(group.events),
        "heads": orjson.dumps(heads).decode(),
        "bodies": b"".join([event.body for event in group.events]),
    }
    connection.execute(insert(inbox).values(values))


def _groups(connection: Connection, wanted: ColumnElement[bool]) -> Iterator[Group]:
    rows = select(inbox.c.ref, inbox.c.received_at, inbox.c.heads, inbox.c.bodies).where(wanted).order_by(inbox.c.ref)
    for ref, received_at, heads, bodies in connection.execute(rows):
        events: list[InboxEvent] = []
        start = 0
        for size, listeners, *trace_context in orjson.loads(heads):
            events.append(InboxEvent(bodies[start : start + size], listeners, *trace_context))
            start += size
        yield Group(ref, received_at, events)
