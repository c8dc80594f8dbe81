"""Lanes: threads that make claimed deliveries, those with one lock one after the other."""

import logging
import queue
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import partial

from extension_kit.deliveries.attempt import after_attempt, after_hand_back, before_attempt, without_attempt
from extension_kit.deliveries.claims import Claim, End
from extension_kit.deliveries.handler import Handler
from extension_kit.deliveries.hung_runs import HungRuns
from extension_kit.deliveries.readiness import Readiness
from extension_kit.deliveries.tables import WAITING
from extension_kit.engine.lane import Job, Lane, Note, Running
from extension_kit.engine.watch import Watch
from extension_kit.observability.attempt_scope import AttemptScope, is_scoped
from extension_kit.senders import Outcome

logger = logging.getLogger("extension_kit.engine")

STALE_PAUSE = 0.05  # seconds after which a thread looks again if its claims hold


class Lanes:
    """The threads, and their lanes.

    Args:
        threads: the maximum number of lanes at the same time.
        tell: called with each note, from any thread. It must not call this object.
        may_begin: returns False when the worker stops, and while it is uncertain if it still owns its claims.
        hung_runs: counts attempts past their timeout.
        readiness: the functions that are not ready; None: all are.
    """

    def __init__(
        self,
        threads: int,
        tell: Callable[[Note], None],
        may_begin: Callable[[], bool],
        hung_runs: HungRuns,
        readiness: Readiness | None = None,
    ) -> None:
        self._threads = threads
        self._tell = tell
        self._may_begin = may_begin
        self._hung_runs = hung_runs
        self._readiness = readiness or Readiness()
        self._work: queue.SimpleQueue[Lane | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._waiting: defaultdict[str, deque[Lane]] = defaultdict(deque)
        self._begun: Counter[str] = Counter()
        self._watch = Watch()

    def open(self) -> None:
        """Start the threads. They are daemons: an attempt that never ends does not keep the process alive."""
        self._watch.open()
        for number in range(self._threads):
            threading.Thread(target=self._run, name=f"delivery-{number}", daemon=True).start()

    def close(self) -> None:
        """Tell the threads to end, each after its current attempt."""
        for _ in range(self._threads):
            self._work.put(None)
        self._watch.close()

    def begin(self, lane: Lane) -> None:
        """Run a lane on a free thread."""
        with self._lock:
            self._begun[lane.listener] += 1
        self._work.put(lane)

    def begin_after(self, lane: Lane) -> None:
        """Run a lane on the next thread that has closed another lane of its listener; now, if none is running."""
        with self._lock:
            if self._begun[lane.listener]:
                self._waiting[lane.listener].append(lane)
                return
            self._begun[lane.listener] += 1
        self._tell(Note(lane, has_begun=True))
        self._work.put(lane)

    def extend(self, lane: Lane, jobs: Iterable[Job]) -> bool:
        """Add deliveries to a lane; return False if it has closed, perhaps because one of its deliveries failed."""
        with self._lock:
            if not lane.is_closed:
                lane.jobs.extend(jobs)
                lane.last_ref = lane.jobs[-1].claim.due.ref
            return not lane.is_closed

    def take_back(self, is_wanted: Callable[[Lane], bool]) -> list[Lane]:
        """Take lanes that have not begun from their queues, and return them."""
        with self._lock:
            taken = [lane for lanes in self._waiting.values() for lane in lanes if is_wanted(lane)]
            for lane in taken:
                self._waiting[lane.listener].remove(lane)
                lane.is_closed = True
            return taken

    def stop(self, lane: Lane) -> list[Claim]:
        """Close a lane after its attempt in progress, and return the claims of attempts that have not begun."""
        with self._lock:
            return self._close(lane)

    def hand_back(self, lane: Lane) -> None:
        """Give the attempt in progress of a lane away, if there is one; its end does not count any more."""
        with self._lock:
            running, lane.running = lane.running, None
            if running is not None:
                end = after_hand_back(running.job.claim, running.started_at, datetime.now(UTC))
                end_scope(lane.scope, end)
                self._tell(Note(lane, end))

    def forget(self, lane: Lane, refs: set[int]) -> list[Claim]:
        """Close a lane if one of its deliveries does not belong to this process any more.

        Returns:
            The claims of the other deliveries that have not begun: they must not pass the one that was lost.
        """
        with self._lock:
            if not any(claim.due.ref in refs for claim in lane.claims()):
                return []
            return [claim for claim in self._close(lane) if claim.due.ref not in refs]

    def _run(self, lane: Lane | None = None) -> None:
        while lane := lane or self._work.get():
            while (job := self._take(lane)) is not None:
                if not self._make(lane, job):
                    return  # a replacement thread goes on
            lane = self._next(lane)

    def _take(self, lane: Lane) -> Job | None:
        """Take the next delivery of a lane when it may begin; close the lane if there is none."""
        while not self._may_begin() and not lane.is_closed:
            time.sleep(STALE_PAUSE)
        return self._take_now(lane)

    def _take_now(self, lane: Lane) -> Job | None:
        with self._lock:
            if lane.is_closed or not lane.jobs:
                lane.is_closed = True
                return None
            job = lane.jobs.popleft()
            lane.since = time.monotonic()
            lane.running = Running(job, datetime.now(UTC))
            return job

    def _next(self, lane: Lane) -> Lane | None:
        """Return the next lane of a listener for the thread of one that has closed."""
        with self._lock:
            waiting = self._waiting.get(lane.listener)
            following = waiting.popleft() if waiting else None
            busy = None
            if following is None:
                self._begun[lane.listener] -= 1
                if not self._begun[lane.listener]:
                    del self._begun[lane.listener]
                    self._waiting.pop(lane.listener, None)
                busy = self._begun.total()
        self._tell(Note(lane, has_closed=True, busy=busy))
        if following is not None:
            self._tell(Note(following, has_begun=True))
        return following

    def _make(self, lane: Lane, job: Job) -> bool:
        """Make one delivery; return False if a replacement thread has taken over from this one."""
        claim, handler = job
        started = lane.running.started_at if lane.running else datetime.now(UTC)
        end = self._decide(job, started)
        if end is None and handler is not None:
            lane.scope = scope = scope_of(claim, started)
            late = partial(self._time_out, lane, job, handler, started, threading.current_thread())
            token = self._watch.begin(handler.timeout, late)
            outcome = _attempt(claim, handler) if scope is None else scope.run(_attempt, claim, handler)
            if not self._watch.end(token):
                return False
            end = after(claim, handler, outcome, started)
            end_scope(scope, end)
            self._record(end)
        if end is not None:
            self._end(lane, end)
        return True

    def _decide(self, job: Job, now: datetime) -> End | None:
        end = None
        try:
            end = before_attempt(job.claim, job.handler, now)
        except Exception:
            logger.exception("Unhandled exception before the attempt of delivery %d", job.claim.due.ref)
        if end is None and not self._readiness.may_attempt(job.claim.due.listener):
            return without_attempt(job.claim, now)
        return end

    def _time_out(self, lane: Lane, job: Job, handler: Handler, started: datetime, thread: threading.Thread) -> None:
        """End an attempt past its timeout as failed. Its thread may never be free again, so another takes its place."""
        outcome = Outcome("failed", f"did not return within {handler.timeout:g} s")
        if lane.running is not None and lane.running.job is job:  # False in a repeated call: no thread could be started
            self._hung_runs.add(lane.listener, thread)
        end = after(job.claim, handler, outcome, started)
        end_scope(lane.scope, end)
        self._record(end)
        self._end(lane, end)
        threading.Thread(target=self._run, args=(lane,), name="delivery-more", daemon=True).start()

    def _record(self, end: End) -> None:
        if end.attempt is not None and end.attempt.outcome is not None:
            self._readiness.record(end.claim.due.listener, end.attempt.outcome)

    def _end(self, lane: Lane, end: End) -> None:
        with self._lock:
            is_mine = lane.running is not None and lane.running.job.claim is end.claim
            if is_mine:
                lane.running = None
            lane.since = time.monotonic()
            lane.made += 1
            given_up = self._close(lane) if end.status == WAITING else []
            if is_mine:  # else it was handed back
                self._tell(Note(lane, end, tuple(given_up)))

    def _close(self, lane: Lane) -> list[Claim]:
        lane.is_closed = lane.is_broken = True
        given_up = [job.claim for job in lane.jobs]
        lane.jobs.clear()
        return given_up


def scope_of(claim: Claim, started: datetime) -> AttemptScope | None:
    """Return the scope of an attempt; None if nobody needs it."""
    if not is_scoped():
        return None
    due = claim.due
    return AttemptScope(due.listener, due.event_name, due.event_id, due.number, due.trace_context, started)


def end_scope(scope: AttemptScope | None, end: End) -> None:
    """End the scope of an attempt."""
    if scope is not None and end.attempt is not None:
        scope.end(end.attempt.result, end.attempt.error)


def after(claim: Claim, handler: Handler, outcome: Outcome, started: datetime) -> End:
    """Return the end of a claim after its attempt, which failed if the outcome cannot be used."""
    now = datetime.now(UTC)
    try:
        return after_attempt(claim, handler.schedule, outcome, started, now)
    except Exception as error:  # it is no outcome, or has impossible values
        logger.exception("Cannot use the outcome of the handler of %s", claim.due.listener)
        failed = Outcome("failed", f"{type(error).__name__}: {error}")
        return after_attempt(claim, handler.schedule, failed, started, now)


def _attempt(claim: Claim, handler: Handler) -> Outcome:
    try:
        return handler.make(claim.due)
    except BaseException as error:
        return failure(claim, error)


def failure(claim: Claim, error: BaseException) -> Outcome:
    """Return the outcome of an attempt in which the handler raised."""
    logger.error("Unhandled exception in the handler of %s", claim.due.listener, exc_info=error)
    return Outcome("failed", f"{type(error).__name__}: {error}")
