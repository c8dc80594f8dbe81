"""Deliveries by filter: find and count them, replay or discard dead letters, rebuild the engine's queue."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, func, select, update

from extension_kit.deliveries.contracts import Defer, Job, Rebuild
from extension_kit.deliveries.tables import DEAD, DISCARDED, WAITING, attempts, bounded, deliveries, events
from extension_kit.store.database import Database

_BATCH = 500


@dataclass(frozen=True, slots=True)
class Filter:
    """Conditions on deliveries, combined by AND; an argument that is not given is no condition.

    Args:
        refs: the deliveries' numbers.
        status: ``waiting``, ``delivered``, ``dead`` or ``discarded``.
        listener: the beginning of the listener's key.
        event_name: the event's name.
        event_id: the event's id.
        before: created before this time.
        after: created after this time.
    """

    refs: tuple[int, ...] = ()
    status: str | None = None
    listener: str | None = None
    event_name: str | None = None
    event_id: str | None = None
    before: datetime | None = None
    after: datetime | None = None

    def conditions(self) -> Iterator[ColumnElement[bool]]:
        """Yield the filter as conditions on deliveries joined with their events."""
        if self.refs:
            yield deliveries.c.ref.in_(self.refs)
        if self.status:
            yield deliveries.c.status == self.status
        if self.listener:
            yield deliveries.c.listener.startswith(self.listener, autoescape=True)
        if self.event_name:
            yield events.c.name == bounded(self.event_name)
        if self.event_id:
            yield events.c.event_id == bounded(self.event_id)
        if self.before:
            yield deliveries.c.created_at < self.before
        if self.after:
            yield deliveries.c.created_at > self.after


def find(connection: Connection, wanted: Filter, limit: int) -> Sequence[Row[Any]]:
    """Return deliveries with the ``name``, ``event_id`` and ``subject`` of their events, newest first."""
    query = select(deliveries, events.c.name, events.c.event_id, events.c.subject).join(events)
    query = query.where(*wanted.conditions()).order_by(deliveries.c.ref.desc()).limit(limit)
    return connection.execute(query).all()


def count(connection: Connection, wanted: Filter) -> int:
    """Return the number of deliveries that match a filter."""
    query = select(func.count()).select_from(deliveries.join(events)).where(*wanted.conditions())
    return connection.execute(query).scalar_one()


def body_of(connection: Connection, ref: int) -> bytes:
    """Return the body of a delivery's event; the delivery must exist."""
    query = select(events.c.body).join(deliveries).where(deliveries.c.ref == ref)
    body: bytes = connection.execute(query).scalar_one()
    return body


def history(connection: Connection, ref: int) -> Sequence[Row[Any]]:
    """Return the attempts of a delivery, oldest first."""
    query = select(attempts).where(attempts.c.delivery_ref == ref).order_by(attempts.c.number)
    return connection.execute(query).all()


def replay(database: Database, engine: Defer, wanted: Filter) -> Iterator[int]:
    """Replay dead letters, each with a whole retry schedule; yields the number of each batch.

    They are made in the order of their events, behind the waiting deliveries.
    """
    anew = {"status": WAITING, "due_at": datetime.now(UTC), "begun_at": None, "ended_at": None}
    return _change(database, wanted, {**anew, "earlier": deliveries.c.attempts}, engine)


def discard(database: Database, wanted: Filter) -> Iterator[int]:
    """Discard dead letters; yields the number of each batch."""
    return _change(database, wanted, {"status": DISCARDED, "ended_at": datetime.now(UTC)}, None)


def _change(database: Database, wanted: Filter, values: Mapping[str, Any], engine: Defer | None) -> Iterator[int]:
    dead = select(deliveries.c.ref).join(events).where(*replace(wanted, status=DEAD).conditions())
    dead = dead.order_by(deliveries.c.ref).limit(_BATCH).with_for_update(of=deliveries)
    changed = (deliveries.c.ref, deliveries.c.lock, deliveries.c.listener)
    last = 0  # each is looked at once: a replayed delivery may be dead again by now
    while True:
        with database.transaction() as connection:
            refs = connection.execute(dead.where(deliveries.c.ref > last)).scalars().all()
            if not refs:
                return
            change = update(deliveries).where(deliveries.c.ref.in_(refs)).values(values).returning(*changed)
            rows = connection.execute(change).all()
            if engine is not None:
                engine.defer(connection, [Job(ref, lock, None, listener) for ref, lock, listener in sorted(rows)])
        last = refs[-1]
        yield len(refs)


def rebuild(connection: Connection, engine: Rebuild, advance: Callable[[int], None] = lambda number: None) -> int:
    """Rebuild the engine's queue from the tables: a job for every waiting delivery, in the order of the events.

    Args:
        connection: in a transaction that writes.
        engine: its queue is rebuilt.
        advance: called with the number of deliveries done since the last call.

    Returns:
        The number of jobs added.
    """
    return engine.rebuild(connection, _waiting(connection, advance))


def _waiting(connection: Connection, advance: Callable[[int], None]) -> Iterator[Job]:
    """Yield jobs for waiting deliveries. The query runs at the first ``next``: until then others may add deliveries."""
    query = select(deliveries.c.ref, deliveries.c.lock, deliveries.c.due_at, deliveries.c.listener)
    query = query.where(deliveries.c.status == WAITING).order_by(deliveries.c.ref)
    for rows in connection.execute(query, execution_options={"yield_per": _BATCH}).partitions():
        yield from (Job(*row) for row in rows)
        advance(len(rows))
