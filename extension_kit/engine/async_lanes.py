"""Async lanes: lanes of async functions, the attempts of which are made on the event loop of the process."""

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial

from extension_kit.deliveries.claims import Claim
from extension_kit.deliveries.handler import Handler
from extension_kit.deliveries.hung_runs import HungRuns
from extension_kit.deliveries.readiness import Readiness
from extension_kit.engine.lane import Job, Lane, Note
from extension_kit.engine.lanes import STALE_PAUSE, Lanes, after, end_scope, failure, scope_of
from extension_kit.events.function_loop import FUNCTION_LOOP, Call, LeftCall
from extension_kit.senders import Outcome

_TO_CANCEL = 1.0  # seconds that a cancelled function has to end


class _Attempt:
    """An attempt in progress."""

    def __init__(self, lane: Lane, claim: Claim, handler: Handler, started: datetime) -> None:
        self.lane, self.claim, self.handler, self.started = lane, claim, handler, started
        self.task: asyncio.Task[Outcome] | None = None
        self.until = time.monotonic() + handler.timeout
        self.is_over = False
        """True if it has an end. Its function may go on."""

    def is_alive(self) -> bool:
        """Return True if the function has not ended."""
        return self.task is not None and not self.task.done()

    def cancel(self) -> None:
        """Cancel the function."""
        if self.task is not None:
            self.task.cancel()


class AsyncLanes(Lanes):
    """The threads, the event loop, and their lanes.

    Each lane of an async function is run by a task, and each of its attempts by another one, which is cancelled at the
    timeout. A function that ends in spite of that within a second has failed all the same; one that does not is left
    behind, and counts as hung. So does a call of ``asyncio.to_thread`` that it leaves behind.

    Args:
        threads: the maximum number of lanes of plain functions at the same time.
        tell: called with each note, from any thread. It must not call this object.
        may_begin: returns False when the worker stops, and while it is uncertain if it still owns its claims.
        hung_runs: counts attempts of plain functions past their timeout.
        readiness: the functions that are not ready.
        hung_async_runs: counts attempts of async functions past their timeout.
    """

    def __init__(
        self,
        threads: int,
        tell: Callable[[Note], None],
        may_begin: Callable[[], bool],
        hung_runs: HungRuns,
        readiness: Readiness,
        hung_async_runs: HungRuns,
    ) -> None:
        super().__init__(threads, tell, may_begin, hung_runs, readiness)
        self._hung_async_runs = hung_async_runs
        self._ending = threading.Lock()
        self._loop: asyncio.AbstractEventLoop
        # For the loop's thread only.
        self._runners: set[asyncio.Task[None]] = set()
        self._attempts: dict[Lane, _Attempt] = {}

    def open(self) -> None:
        """Start the threads, and the event loop if it does not run yet."""
        super().open()
        self._loop = FUNCTION_LOOP.start()

    def close(self) -> None:
        """Tell the threads to end, each after its current attempt, and cancel the attempts on the event loop."""
        super().close()
        ended = asyncio.run_coroutine_threadsafe(self._cancel_all(), self._loop)
        with suppress(TimeoutError):  # a function blocks the loop
            ended.result(2 * _TO_CANCEL)

    def begin(self, lane: Lane) -> None:
        """Run a lane on a free thread, or on the event loop."""
        if lane.is_async:
            self._loop.call_soon_threadsafe(self._begin_on_loop, lane)
        else:
            super().begin(lane)

    def hand_back(self, lane: Lane) -> None:
        """Give the attempt in progress of a lane away, if there is one; its end does not count any more.

        On the event loop, it is cancelled.
        """
        super().hand_back(lane)
        if lane.is_async:
            self._loop.call_soon_threadsafe(self._cancel, lane)

    def _begin_on_loop(self, lane: Lane) -> None:
        runner = self._loop.create_task(self._run_lane(lane))
        self._runners.add(runner)
        runner.add_done_callback(self._runners.discard)

    def _cancel(self, lane: Lane) -> None:
        if attempt := self._attempts.get(lane):
            attempt.cancel()

    async def _cancel_all(self) -> None:
        tasks = {attempt.task for attempt in self._attempts.values() if attempt.task}
        for task in (*self._runners, *tasks):
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_TO_CANCEL)

    async def _run_lane(self, lane: Lane) -> None:
        while (job := await self._take_on_loop(lane)) is not None:
            await self._make_on_loop(lane, job)
        is_last = len(self._runners) == 1
        self._tell(Note(lane, has_closed=True, busy=0 if is_last else None))

    async def _take_on_loop(self, lane: Lane) -> Job | None:
        while not self._may_begin() and not lane.is_closed:
            await asyncio.sleep(STALE_PAUSE)
        return self._take_now(lane)

    async def _make_on_loop(self, lane: Lane, job: Job) -> None:
        claim, handler = job
        started = lane.running.started_at if lane.running else datetime.now(UTC)
        end = self._decide(job, started)
        if end is not None:
            self._end(lane, end)
        elif handler is not None and handler.make_async is not None:
            attempt = self._attempts[lane] = _Attempt(lane, claim, handler, started)
            call = Call(lane.listener, partial(self._end_if_late, attempt), partial(self._count, lane.listener))
            make = partial(FUNCTION_LOOP.begin, call, handler.make_async(claim.due))
            lane.scope = scope = scope_of(claim, started)
            attempt.task = make() if scope is None else scope.run(make)
            self._end_attempt(attempt, await self._outcome_of(attempt, attempt.task))
            del self._attempts[lane]

    async def _outcome_of(self, attempt: _Attempt, task: "asyncio.Task[Outcome]") -> Outcome:
        """Wait for the function, and cancel it at its timeout. Time for which others block the loop does not count."""
        timeout, blocked = attempt.handler.timeout, FUNCTION_LOOP.seconds_blocked
        wait = timeout
        while wait > 0 and not task.done():
            await asyncio.wait({task}, timeout=wait)
            now = FUNCTION_LOOP.seconds_blocked
            blocked, wait = now, now - blocked
        if task.done():
            return _outcome(attempt.claim, task)
        task.cancel()
        await asyncio.wait({task}, timeout=_TO_CANCEL)
        if not task.done() and not attempt.is_over:
            self._hung_async_runs.add(attempt.lane.listener, attempt)
        return Outcome("failed", f"did not return within {timeout:g} s")

    def _end_if_late(self, attempt: _Attempt) -> None:
        """End an attempt that blocks the loop past its timeout. The loop may never go on, so the process is renewed."""
        if attempt.is_over or time.monotonic() < attempt.until:
            return
        self._hung_async_runs.add(attempt.lane.listener, attempt, blocks_others=True)
        error = f"did not return within {attempt.handler.timeout:g} s, and blocked the event loop"
        self._end_attempt(attempt, Outcome("failed", error))

    def _count(self, listener: str, left: LeftCall, are_many: bool) -> None:
        """Count the call that an attempt has left behind in a thread, which no other call can use."""
        self._hung_async_runs.add(listener, left, blocks_others=are_many)

    def _end_attempt(self, attempt: _Attempt, outcome: Outcome) -> None:
        with self._ending:  # until the lane knows, or it would go on before
            if not attempt.is_over:
                attempt.is_over = True
                end = after(attempt.claim, attempt.handler, outcome, attempt.started)
                self._record(end)
                end_scope(attempt.lane.scope, end)
                self._end(attempt.lane, end)


def _outcome(claim: Claim, task: "asyncio.Task[Outcome]") -> Outcome:
    """Return the outcome of a function that has ended."""
    if task.cancelled():
        return Outcome("failed", "CancelledError: the function was cancelled")
    error = task.exception()
    return task.result() if error is None else failure(claim, error)
