"""Attempts: begins an attempt in the database, makes it, records its end and the time of the next one."""

import logging
import threading
import time
from collections.abc import Callable, Generator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Connection

from extension_kit.deliveries import attempt_rows as records
from extension_kit.deliveries.contracts import Limited
from extension_kit.deliveries.hung_runs import AbandonedRuns
from extension_kit.deliveries.in_progress import UnderWay
from extension_kit.deliveries.retry import RetrySchedule
from extension_kit.deliveries.tables import DEAD, DELIVERED, DISCARDED
from extension_kit.errors import StoreError, StoreUnavailable
from extension_kit.observability import metrics
from extension_kit.senders import Outcome
from extension_kit.store.database import Database

logger = logging.getLogger("extension_kit.deliveries")

_OUTAGE = 60.0  # seconds for which the end of an attempt waits for an unavailable database
_PAUSE = 0.25  # seconds between two tries
_SUSPECT = 2  # losses in a row after which a delivery is suspected of killing its process
_RESTS = "the target rests"
_TURN = 1.0  # seconds for which a suspect waits for its turn before it asks again


class Due(NamedTuple):
    """The delivery of an attempt, with its event."""

    ref: int
    number: int  # of the attempt, from 1
    earlier: int  # attempts that do not count
    listener: str
    created_at: datetime
    event_name: str
    event_id: str
    body: bytes
    source: str
    time: datetime | None
    subject: str | None
    series: str | None
    place: int | None  # in the series, from 1


class Handler(NamedTuple):
    """Makes the deliveries to a listener.

    ``make`` runs on a thread of its own, for at most ``timeout`` seconds. ``rest`` returns the seconds for which the
    target rests; until then no attempt is made or counted. If the target still rests at the end of the whole schedule,
    the delivery becomes a dead letter.
    """

    make: Callable[[Due], Outcome]
    schedule: RetrySchedule
    timeout: float
    rest: Callable[[], float] = lambda: 0.0


Steps = Generator[Limited, bool, datetime | None]

FindHandler = Callable[[str, Connection], Handler | None]
"""Finds the handler of a listener; None if the listener was removed: its deliveries are discarded."""


class Attempts:
    """Makes attempts, by the number of their delivery; the engine calls it from its threads.

    When a process dies, all its attempts in progress are lost, and any of them may be the cause. A delivery with two or
    more lost attempts in a row is a suspect: it waits as after a failure, and suspects are then attempted one at a
    time, so that none is lost because of another.

    Args:
        database: holds the deliveries.
        find: finds the handler of a listener.
        abandoned: counts handlers that exceeded their timeout.
        is_ours: returns True if this worker still owns the delivery of this thread; called within the transaction that
            begins the attempt, or that ends it without effect. A worker that was frozen for long has lost it to others.
        end_job: called within the transaction that ends the delivery, so that its job ends, too.
    """

    def __init__(
        self,
        database: Database,
        find: FindHandler,
        abandoned: AbandonedRuns,
        is_ours: Callable[[Connection], bool] = lambda connection: True,
        end_job: Callable[[Connection], None] = lambda connection: None,
    ) -> None:
        self._database = database
        self._find = find
        self._abandoned = abandoned
        self._is_ours = is_ours
        self._end_job = end_job
        self._under_way = UnderWay()

    def __call__(self, ref: int) -> Steps:
        """Make one attempt. The caller runs the part that may never return, and sends True if it returned in time.

        Returns:
            The time of the next attempt, or None if the delivery has ended.
        """
        try:
            return (yield from self._attempt(ref))
        finally:
            self._under_way.end_turn(ref)

    def hand_back(self, ref: int) -> None:
        """Hand back the attempt in progress of a delivery, if any: others make it anew, and it does not count.

        For a worker that has to stop. Call it while others cannot begin the attempt yet. If the attempt succeeds before
        they begin it, that is recorded.
        """
        if (number := self._under_way.give_away(ref)) is None:
            return
        try:
            with self._database.transaction() as connection:
                records.hand_back(connection, ref, number, datetime.now(UTC))
        except StoreError as error:
            logger.warning("Attempt %d of delivery %d counts as lost: %s", number, ref, error)

    def _attempt(self, ref: int) -> Steps:
        try:
            with self._database.transaction() as connection:
                begun = self._begin(connection, ref)
        except StoreUnavailable as error:
            logger.warning("Delivery %d postponed: %s", ref, error)
            return datetime.now(UTC) + timedelta(seconds=error.retry_after)
        if begun is None or isinstance(begun, datetime):
            return begun
        due, handler = begun
        self._under_way.begin(ref, due.number)
        started = time.perf_counter()
        outcome = yield from self._make(due, handler)
        seconds = time.perf_counter() - started
        if not self._under_way.end(ref, due.number) and outcome.result != "delivered":
            return None  # handed back, and perhaps it failed only because the process stops
        try:
            ended = self._write_down_end(due, handler.schedule, outcome)
        except StoreUnavailable as error:
            logger.error("Attempt %d of delivery %d counts as lost: %s", due.number, ref, error)  # noqa: TRY400
            return datetime.now(UTC) + timedelta(seconds=error.retry_after)
        if ended.result is not None:
            metrics.attempted(due.listener, ended.result, seconds)
        return ended.again_at

    def _begin(self, connection: Connection, ref: int) -> tuple[Due, Handler] | datetime | None:
        """Record that an attempt begins.

        Returns:
            The delivery and its handler; or the time of the next try, if no attempt is made now; or None if there
            is nothing to do.
        """
        if not self._is_ours(connection) or (row := records.load(connection, ref)) is None:
            return None
        now = datetime.now(UTC)
        handler = self._find(row.listener, connection)
        if handler is None:
            records.finish(connection, ref, row.attempts, DISCARDED, now, "its listener is gone")
            self._end_job(connection)
            return None
        just_lost = row.attempts > 0 and records.write_off(connection, ref, now)
        tried = row.attempts - row.earlier
        if tried >= handler.schedule.attempts:
            self._bury(connection, row, now, row.error or "the process died in every attempt")
            return None
        suspect = row.attempts >= _SUSPECT and records.losses(connection, ref) >= _SUSPECT
        if suspect and just_lost and (wait := handler.schedule.wait_after(tried)) is not None:
            what = f"{row.listener} of {row.name} {row.event_id}"
            logger.warning(
                "%s: attempt %d was lost with its process, retry in %g s", what, row.attempts, round(wait, 2)
            )
            return records.put_off(connection, ref, now, wait)
        if suspect and not self._under_way.take_turn(ref):
            return records.put_off(connection, ref, now, _TURN)
        if (rest := handler.rest()) > 0:
            if row.begun_at and (now - row.begun_at).total_seconds() > handler.schedule.length:
                error = row.error or _RESTS  # a replayed delivery may have ended the same way before
                self._bury(connection, row, now, error if error.startswith(_RESTS) else f"{_RESTS}: {error}")
                return None
            return records.put_off(connection, ref, now, rest)
        number = row.attempts + 1
        records.begin(connection, ref, number, now)
        event = (row.name, row.event_id, row.body, row.source, row.time, row.subject, row.series, row.place)
        return Due(ref, number, row.earlier, row.listener, row.created_at, *event), handler

    def _make(self, due: Due, handler: Handler) -> Generator[Limited, bool, Outcome]:
        ended: list[Outcome] = []

        def run() -> None:
            try:
                ended.append(handler.make(due))
            except BaseException as error:
                logger.exception("Unhandled exception in the handler of %s", due.listener)
                ended.append(Outcome("failed", f"{type(error).__name__}: {error}"))

        thread = threading.current_thread()
        in_time = yield Limited(run, handler.timeout)
        if in_time or ended:
            return ended[0]
        self._abandoned.add(due.listener, thread)
        return Outcome("failed", f"did not return within {handler.timeout:g} s")

    def _write_down_end(self, due: Due, schedule: RetrySchedule, outcome: Outcome) -> "_Ended":
        """Record the end of an attempt. Wait for an unavailable database, or a success would be repeated."""
        deadline = time.monotonic() + _OUTAGE
        while True:
            try:
                with self._database.transaction() as connection:
                    return self._end(connection, due, schedule, outcome)
            except StoreUnavailable:
                if time.monotonic() > deadline:
                    raise
            time.sleep(_PAUSE)

    def _end(self, connection: Connection, due: Due, schedule: RetrySchedule, outcome: Outcome) -> "_Ended":
        """Record the end of an attempt, unless it no longer counts."""
        now = datetime.now(UTC)
        outcome = records.storable(outcome)
        wait = None
        if outcome.result == "failed":
            tried = due.number - due.earlier
            wait = schedule.wait_after(tried, at_least=outcome.retry_after, exactly=outcome.retry_in)
        again_at = None if wait is None else now + timedelta(seconds=wait)
        if not self._settle(connection, due, outcome, now, again_at):
            if not self._is_ours(connection) or (row := records.load(connection, due.ref)) is None:
                logger.warning("Attempt %d of delivery %d ended too late, result ignored", due.number, due.ref)
                return _Ended(None)
            if row.attempts >= due.number:
                logger.warning("Attempt %d of delivery %d ended too late, repeated", due.number, due.ref)
                return _Ended(None, now)
            # The database has crashed and lost the row of this attempt's begin.
            records.begin(connection, due.ref, due.number, now)
            self._settle(connection, due, outcome, now, again_at)
        records.end(connection, due.ref, due.number, outcome, now)
        if again_at is None:
            self._end_job(connection)
        what = f"{due.listener} of {due.event_name} {due.event_id}"
        if outcome.result == "delivered":
            logger.debug("%s: delivered in attempt %d", what, due.number)
            return _Ended(metrics.DELIVERED)
        if wait is None:
            logger.error("%s is dead after attempt %d: %s", what, due.number, outcome.error)
            return _Ended(metrics.DEAD)
        logger.warning("%s: attempt %d failed, retry in %g s: %s", what, due.number, round(wait, 2), outcome.error)
        return _Ended(metrics.FAILED, again_at)

    def _settle(
        self, connection: Connection, due: Due, outcome: Outcome, now: datetime, again_at: datetime | None
    ) -> bool:
        """End a delivery, or postpone it; False if a later attempt has begun or the delivery has ended."""
        if outcome.result == "delivered":
            return records.finish(connection, due.ref, due.number, DELIVERED, now, None)
        if again_at is None:
            return records.finish(connection, due.ref, due.number, DEAD, now, outcome.error)
        return records.postpone(connection, due.ref, due.number, again_at, outcome.error)

    def _bury(self, connection: Connection, row: records.Waiting, now: datetime, error: str) -> None:
        """Make a dead letter of a delivery without another attempt."""
        records.finish(connection, row.ref, row.attempts, DEAD, now, error)
        self._end_job(connection)
        metrics.attempted(row.listener, metrics.DEAD, None)
        logger.error("%s of %s %s is dead: %s", row.listener, row.name, row.event_id, error)


class _Ended(NamedTuple):
    """End of an attempt: its result for the metrics (None: it does not count) and the time of the next, if any."""

    result: str | None
    again_at: datetime | None = None
