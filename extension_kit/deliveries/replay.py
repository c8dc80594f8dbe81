"""Replay: makes dead letters wait again or discards them, by filter."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select, update

from extension_kit.deliveries.notify import notify_workers
from extension_kit.deliveries.queries import Filter
from extension_kit.deliveries.tables import DEAD, DISCARDED, READY, WAITING, deliveries, events
from extension_kit.store.database import Database

_BATCH = 500


def replay(database: Database, wanted: Filter, batch: int = _BATCH) -> Iterator[int]:
    """Replay dead letters, each with a whole retry schedule; yields the number of each batch.

    A dead letter with a lock comes before the waiting deliveries of later events with this lock.
    """
    anew = {"status": WAITING, "stage": READY, "due_at": datetime.now(UTC), "first_attempt_at": None, "ended_at": None}
    return _change(database, wanted, {**anew, "losses": 0, "uncounted_attempts": deliveries.c.attempts}, batch)


def discard(database: Database, wanted: Filter, batch: int = _BATCH) -> Iterator[int]:
    """Discard dead letters; yields the number of each batch."""
    return _change(database, wanted, {"status": DISCARDED, "ended_at": datetime.now(UTC)}, batch)


def _change(database: Database, wanted: Filter, values: Mapping[str, Any], batch: int) -> Iterator[int]:
    dead = select(deliveries.c.ref).join(events).where(*replace(wanted, status=DEAD).conditions())
    dead = dead.order_by(deliveries.c.ref).limit(batch).with_for_update(of=deliveries)
    last = 0  # each is looked at once: a replayed delivery may be dead again by now
    while True:
        with database.transaction() as connection:
            refs = connection.execute(dead.where(deliveries.c.ref > last)).scalars().all()
            if not refs:
                return
            connection.execute(update(deliveries).where(deliveries.c.ref.in_(refs)).values(values))
            notify_workers(connection)
        last = refs[-1]
        yield len(refs)
