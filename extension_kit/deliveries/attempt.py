"""One attempt of a delivery: begin it in the database, make it, write down how it ended, say when to come again."""

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

_OUTAGE = 60.0  # seconds for which the end of an attempt waits for a database that is gone
_PAUSE = 0.25  # seconds after which it asks again
_SUSPECT = 2  # losses in a row after which a delivery may be what kills the process
_RESTS = "the target rests"
_TURN = 1.0  # seconds after which a suspect asks again whether it is its turn


class Due(NamedTuple):
    """What is delivered in an attempt."""

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
    """How deliveries to a listener are made.

    ``make`` may take as long as ``timeout`` seconds; it runs on a thread of its own. As long as ``rest`` says that the
    target rests for some seconds more, no attempt is made, and none counted. A delivery whose target still rests when
    the whole schedule would have been over is a dead letter.
    """

    make: Callable[[Due], Outcome]
    schedule: RetrySchedule
    timeout: float
    rest: Callable[[], float] = lambda: 0.0


Steps = Generator[Limited, bool, datetime | None]

FindHandler = Callable[[str, Connection], Handler | None]
"""Finds the handler of a listener; None where it is gone for good, so that its deliveries are discarded."""


class Attempts:
    """Makes attempts, each by the number of its delivery; the engine calls it from its threads.

    A process that dies takes all attempts with it that are under way, whichever of them has killed it. Those that were
    lost for the second time or more in a row are suspects: they wait as if they had failed, and are then made one at a
    time, so that none dies of another any more.

    Args:
        database: where deliveries are.
        find: how a listener's deliveries are made.
        abandoned: where runs are counted that did not return in time.
        is_ours: whether the delivery that this thread was told to attempt is still this worker's to attempt; asked
            within the transaction that begins the attempt, or that ends it in vain. A worker that was frozen for long
            has lost it to others.
        end_job: told of the delivery's end within the transaction that ends it, so that the job for it can end, too.
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
        """Make one attempt; what may never return is left to the caller, who says whether it has returned in time.

        Returns:
            When to try again, or None where the delivery has ended.
        """
        try:
            return (yield from self._attempt(ref))
        finally:
            self._under_way.end_turn(ref)

    def hand_back(self, ref: int) -> None:
        """Let the attempt of a delivery that is under way, if there is one, be made anew by others: it does not count.

        For a worker that has to stop; to be called while others cannot begin it yet. Should it succeed all the same
        before they begin it, that is written down.
        """
        if (number := self._under_way.give_away(ref)) is None:
            return
        try:
            with self._database.transaction() as connection:
                records.hand_back(connection, ref, number, datetime.now(UTC))
        except StoreError as error:
            logger.warning("attempt %d of delivery %d counts as lost: %s", number, ref, error)

    def _attempt(self, ref: int) -> Steps:
        try:
            with self._database.transaction() as connection:
                begun = self._begin(connection, ref)
        except StoreUnavailable as error:
            logger.warning("delivery %d waits: %s", ref, error)
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
            logger.error("attempt %d of delivery %d counts as lost: %s", due.number, ref, error)  # noqa: TRY400
            return datetime.now(UTC) + timedelta(seconds=error.retry_after)
        if ended.result is not None:
            metrics.attempted(due.listener, ended.result, seconds)
        return ended.again_at

    def _begin(self, connection: Connection, ref: int) -> tuple[Due, Handler] | datetime | None:
        """Write down that an attempt begins.

        Returns:
            What to do; or when to come again, because it is not to be made now; or None where nothing is left to do.
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
                "%s: attempt %d was lost with its process, again in %g s", what, row.attempts, round(wait, 2)
            )
            return records.put_off(connection, ref, now, wait)
        if suspect and not self._under_way.take_turn(ref):
            return records.put_off(connection, ref, now, _TURN)
        if (rest := handler.rest()) > 0:
            if row.begun_at and (now - row.begun_at).total_seconds() > handler.schedule.length:
                error = row.error or _RESTS  # of a replayed delivery, too, which may have had the same end
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
                logger.exception("a handler of %s raised, which it must not", due.listener)
                ended.append(Outcome("failed", f"{type(error).__name__}: {error}"))

        thread = threading.current_thread()
        in_time = yield Limited(run, handler.timeout)
        if in_time or ended:
            return ended[0]
        self._abandoned.add(due.listener, thread)
        return Outcome("failed", f"did not return within {handler.timeout:g} s")

    def _write_down_end(self, due: Due, schedule: RetrySchedule, outcome: Outcome) -> "_Ended":
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

    def _end(self, connection: Connection, due: Due, schedule: RetrySchedule, outcome: Outcome) -> "_Ended":
        """Write down how the attempt ended, unless that no longer counts."""
        now = datetime.now(UTC)
        outcome = records.storable(outcome)
        wait = None
        if outcome.result == "failed":
            tried = due.number - due.earlier
            wait = schedule.wait_after(tried, at_least=outcome.retry_after, exactly=outcome.retry_in)
        again_at = None if wait is None else now + timedelta(seconds=wait)
        if not self._settle(connection, due, outcome, now, again_at):
            if not self._is_ours(connection) or (row := records.load(connection, due.ref)) is None:
                logger.warning("attempt %d of delivery %d came back too late, ignored", due.number, due.ref)
                return _Ended(None)
            if row.attempts >= due.number:
                logger.warning("attempt %d of delivery %d came back too late, made again", due.number, due.ref)
                return _Ended(None, now)
            # A crash of the database has taken back that it began.
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
        logger.warning("%s: attempt %d failed, again in %g s: %s", what, due.number, round(wait, 2), outcome.error)
        return _Ended(metrics.FAILED, again_at)

    def _settle(
        self, connection: Connection, due: Due, outcome: Outcome, now: datetime, again_at: datetime | None
    ) -> bool:
        """End a delivery, or put it off; False where this is not its last attempt, or it has ended already."""
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
    """How an attempt ended, for the metrics, if it counts; and when to make another, if at all."""

    result: str | None
    again_at: datetime | None = None
