"""What people do with deliveries: look at them, try dead ones again, throw some away, fill the engine's queue anew."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Protocol

from sqlalchemy import ColumnElement, Connection, Row, func, select, update

from extension_kit.deliveries.models import DEAD, DISCARDED, WAITING, attempts, deliveries, events
from extension_kit.deliveries.outbox import Defer, Job
from extension_kit.store.database import Database

_BATCH = 500


class Rebuild(Protocol):
    """What filling the queue anew needs of the engine."""

    def rebuild(self, connection: Connection, jobs: Iterator[Job]) -> int:
        """Empty the queue and add these jobs, in this order."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which deliveries are meant; what is not given does not matter.

    Args:
        refs: their numbers.
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

    def conditions(self) -> list[ColumnElement[bool]]:
        """The filter as conditions on deliveries joined with their events."""
        wanted: list[tuple[object, ColumnElement[bool]]] = [
            (self.refs, deliveries.c.ref.in_(self.refs)),
            (self.status, deliveries.c.status == self.status),
            (self.listener, deliveries.c.listener.startswith(self.listener or "", autoescape=True)),
            (self.event_name, events.c.name == self.event_name),
            (self.event_id, events.c.event_id == self.event_id),
            (self.before, deliveries.c.created_at < self.before),
            (self.after, deliveries.c.created_at > self.after),
        ]
        return [condition for given, condition in wanted if given]


def find(connection: Connection, wanted: Filter, limit: int) -> Sequence[Row[Any]]:
    """Return deliveries with their events, oldest first."""
    query = select(deliveries, events.c.name, events.c.event_id, events.c.subject).join(events)
    query = query.where(*wanted.conditions()).order_by(deliveries.c.ref).limit(limit)
    return connection.execute(query).all()


def count(connection: Connection, wanted: Filter) -> int:
    """Say how many deliveries there are."""
    query = select(func.count()).select_from(deliveries.join(events)).where(*wanted.conditions())
    return connection.execute(query).scalar_one()


def history(connection: Connection, ref: int) -> Sequence[Row[Any]]:
    """Return the attempts of a delivery, oldest first."""
    query = select(attempts).where(attempts.c.delivery_ref == ref).order_by(attempts.c.number)
    return connection.execute(query).all()


def replay(database: Database, engine: Defer, wanted: Filter) -> Iterator[int]:
    """Try dead letters again, with a whole retry schedule before them; yields how many, batch by batch.

    They are made in the order of their events, behind what waits already.
    """
    return _change(database, wanted, DEAD, WAITING, engine)


def discard(database: Database, wanted: Filter) -> Iterator[int]:
    """Throw dead letters away; yields how many, batch by batch."""
    return _change(database, wanted, DEAD, DISCARDED, None)


def _change(database: Database, wanted: Filter, old: str, new: str, engine: Defer | None) -> Iterator[int]:
    wanted = replace(wanted, status=old)
    while True:
        with database.transaction() as connection:
            found = find(connection, wanted, _BATCH)
            now = datetime.now(UTC)
            changed = connection.execute(
                update(deliveries)
                .where(deliveries.c.ref.in_([row.ref for row in found]), deliveries.c.status == old)
                .values(
                    status=new,
                    due_at=now,
                    ended_at=None if new == WAITING else now,
                    earlier=deliveries.c.attempts,
                )
                .returning(deliveries.c.ref, deliveries.c.lock)
            ).all()
            if engine is not None:
                engine.defer(connection, [Job(ref, lock, None) for ref, lock in sorted(changed)])
        if not found:
            return
        yield len(changed)


def rebuild(database: Database, engine: Rebuild) -> int:
    """Make the engine's queue from the tables: a job for every delivery that waits, in the order of the events."""
    with database.transaction() as connection:
        query = select(deliveries.c.ref, deliveries.c.lock, deliveries.c.due_at)
        waiting = connection.execute(query.where(deliveries.c.status == WAITING).order_by(deliveries.c.ref))
        return engine.rebuild(connection, (Job(*row) for row in waiting))
