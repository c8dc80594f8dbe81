"""One attempt of a delivery: begin it in the database, make it, write down how it ended, say when to come again."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, insert, select, update

from extension_kit import metrics
from extension_kit.deliveries.models import DEAD, DELIVERED, DISCARDED, WAITING, attempts, deliveries, events
from extension_kit.deliveries.retry import RetrySchedule
from extension_kit.errors import StoreUnavailable
from extension_kit.senders import Outcome
from extension_kit.store.database import Database

logger = logging.getLogger("extension_kit.deliveries")

_MAX_TEXT = 2000
_OUTAGE = 60.0  # seconds for which the end of an attempt waits for a database that is gone
_PAUSE = 0.25  # seconds after which it asks again


class Due(NamedTuple):
    """What is delivered in an attempt."""

    ref: int
    number: int  # of the attempt, from 1
    earlier: int  # attempts before it was last replayed, which do not count
    listener: str
    created_at: datetime
    event_name: str
    event_id: str
    body: bytes


class Handler(NamedTuple):
    """How deliveries to a listener are made.

    ``make`` may take as long as ``timeout`` seconds; it runs on a thread of its own.
    """

    make: Callable[[Due], Outcome]
    schedule: RetrySchedule
    timeout: float


FindHandler = Callable[[str, Connection], Handler | None]
"""Finds the handler of a listener; None where it is gone for good, so that its deliveries are discarded."""


class Attempts:
    """Makes attempts, each by the number of its delivery; the engine calls it from its threads.

    Args:
        database: where deliveries are.
        find: how a listener's deliveries are made.
        handlers_lost: told how many attempts have been abandoned so far because they did not return in time.
    """

    def __init__(
        self,
        database: Database,
        find: FindHandler,
        handlers_lost: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._database = database
        self._find = find
        self._handlers_lost = handlers_lost
        self._lost = 0

    def __call__(self, ref: int) -> datetime | None:
        """Make one attempt.

        Returns:
            When to try again, or None where the delivery has ended.
        """
        try:
            with self._database.transaction() as connection:
                begun = self._begin(connection, ref)
        except StoreUnavailable as error:
            logger.warning("delivery %d waits: %s", ref, error)
            return datetime.now(UTC) + timedelta(seconds=error.retry_after)
        if begun is None:
            return None
        due, handler = begun
        started = time.perf_counter()
        outcome = self._make(due, handler)
        seconds = time.perf_counter() - started
        try:
            ended = self._write_down_end(due, handler.schedule, outcome)
        except StoreUnavailable as error:
            logger.error("attempt %d of delivery %d counts as lost: %s", due.number, ref, error)  # noqa: TRY400
            return datetime.now(UTC) + timedelta(seconds=error.retry_after)
        if ended is None:
            return None
        metrics.attempted(due.listener, ended.result, seconds)
        return ended.again_at

    def _begin(self, connection: Connection, ref: int) -> tuple[Due, Handler] | None:
        """Write down that an attempt begins; it counts even if nobody lives to write down its end."""
        row = connection.execute(_LOAD, {"ref": ref}).one_or_none()
        if row is None or row.status != WAITING:
            return None
        now = datetime.now(UTC)
        handler = self._find(row.listener, connection)
        if handler is None:
            _finish(connection, ref, row.attempts, DISCARDED, now, "its listener is gone")
            return None
        _write_off_lost_attempt(connection, ref, now)
        if row.attempts - row.earlier >= handler.schedule.attempts:
            _finish(connection, ref, row.attempts, DEAD, now, row.error or "the process died in every attempt")
            metrics.attempted(row.listener, metrics.DEAD, None)
            logger.error("%s of %s %s is dead: %s", row.listener, row.name, row.event_id, row.error)
            return None
        number = row.attempts + 1
        connection.execute(update(deliveries).where(deliveries.c.ref == ref).values(attempts=number))
        connection.execute(insert(attempts).values(delivery_ref=ref, number=number, started_at=now))
        due = Due(ref, number, row.earlier, row.listener, row.created_at, row.name, row.event_id, row.body)
        return due, handler

    def _make(self, due: Due, handler: Handler) -> Outcome:
        """Run the handler on a thread of its own: one that never returns must not take a worker's thread with it."""
        ended: list[Outcome] = []

        def run() -> None:
            try:
                ended.append(handler.make(due))
            except BaseException as error:
                logger.exception("a handler of %s raised, which it must not", due.listener)
                ended.append(Outcome("failed", f"{type(error).__name__}: {error}"))

        thread = threading.Thread(target=run, name=f"delivery-{due.ref}", daemon=True)
        thread.start()
        thread.join(handler.timeout)
        if ended:
            return ended[0]
        self._lost += 1
        self._handlers_lost(self._lost)
        return Outcome("failed", f"did not return within {handler.timeout:g} s")

    def _write_down_end(self, due: Due, schedule: RetrySchedule, outcome: Outcome) -> "_Ended | None":
        """Write it down, and wait for a database that is gone: else what succeeded would be done once more."""
        deadline = time.monotonic() + _OUTAGE
        while True:
            try:
                with self._database.transaction() as connection:
                    return self._end(connection, due, schedule, outcome)
            except StoreUnavailable:
                if time.monotonic() > deadline:
                    raise
            time.sleep(_PAUSE)

    def _end(self, connection: Connection, due: Due, schedule: RetrySchedule, outcome: Outcome) -> "_Ended | None":
        """Write down how the attempt ended; None where that no longer counts."""
        now = datetime.now(UTC)
        error = outcome.error[:_MAX_TEXT] if outcome.error else None
        wait = (
            schedule.wait_after(due.number - due.earlier, outcome.retry_after) if outcome.result == "failed" else None
        )
        if outcome.result == "delivered":
            ours = _finish(connection, due.ref, due.number, DELIVERED, now, None)
        elif wait is None:
            ours = _finish(connection, due.ref, due.number, DEAD, now, error)
        else:
            ours = _postpone(connection, due.ref, due.number, now + timedelta(seconds=wait), error)
        if not ours:
            # Another worker has begun a later attempt: this one was thought dead, and what it did no longer counts.
            logger.warning("attempt %d of delivery %d came back too late, ignored", due.number, due.ref)
            return None
        connection.execute(
            update(attempts)
            .where(attempts.c.delivery_ref == due.ref, attempts.c.number == due.number)
            .values(ended_at=now, result=outcome.result, error=error, status=outcome.status, excerpt=outcome.excerpt)
        )
        what = f"{due.listener} of {due.event_name} {due.event_id}"
        if outcome.result == "delivered":
            logger.debug("%s: delivered in attempt %d", what, due.number)
            return _Ended(metrics.DELIVERED)
        if wait is None:
            logger.error("%s is dead after attempt %d: %s", what, due.number, error)
            return _Ended(metrics.DEAD)
        logger.warning("%s: attempt %d failed, again in %.3g s: %s", what, due.number, wait, error)
        return _Ended(metrics.FAILED, now + timedelta(seconds=wait))


class _Ended(NamedTuple):
    result: str
    again_at: datetime | None = None


_LOAD = (
    select(
        deliveries.c.listener,
        deliveries.c.status,
        deliveries.c.attempts,
        deliveries.c.earlier,
        deliveries.c.error,
        deliveries.c.created_at,
        events.c.name,
        events.c.event_id,
        events.c.body,
        deliveries.c.ref,
    )
    .join(events)
    .where(deliveries.c.ref == bindparam("ref"))
)


def _write_off_lost_attempt(connection: Connection, ref: int, now: datetime) -> None:
    connection.execute(
        update(attempts)
        .where(attempts.c.delivery_ref == ref, attempts.c.ended_at.is_(None))
        .values(ended_at=now, result="lost", error="the process that made it died")
    )


def _finish(connection: Connection, ref: int, number: int, status: str, now: datetime, error: str | None) -> bool:
    """End a delivery, unless a later attempt than ours has begun."""
    return _change(connection, ref, number, {"status": status, "ended_at": now, "error": error})


def _postpone(connection: Connection, ref: int, number: int, due_at: datetime, error: str | None) -> bool:
    return _change(connection, ref, number, {"due_at": due_at, "error": error})


def _change(connection: Connection, ref: int, number: int, values: Mapping[str, Any]) -> bool:
    mine = (deliveries.c.ref == ref, deliveries.c.attempts == number, deliveries.c.status == WAITING)
    return connection.execute(update(deliveries).where(*mine).values(values)).rowcount == 1
