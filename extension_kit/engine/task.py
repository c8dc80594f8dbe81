"""Task: procrastinate's task of every job, which makes one attempt of a delivery on a thread."""

import asyncio
import queue
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from functools import partial

from procrastinate.job_context import JobContext
from procrastinate.jobs import Job
from procrastinate.retry import BaseRetryStrategy, RetryDecision

from extension_kit.engine.app import Held
from extension_kit.engine.making import Attempt, Making, Rest, Retry
from extension_kit.engine.watch import Watch


class _Again(Exception):
    """Raised in procrastinate's task to reschedule its job."""

    def __init__(self, retry: Retry) -> None:
        super().__init__()
        self.retry = retry


class When(BaseRetryStrategy):
    """Tells procrastinate when to do a job again: at the time of its retry, or at once if a stop has interrupted it."""

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision:
        """Return the time and the lock of the retry."""
        if isinstance(exception, _Again):
            return RetryDecision(retry_at=exception.retry.due_at, lock=exception.retry.lock)
        return RetryDecision()


class Task:
    """Runs jobs on a pool of threads.

    Args:
        attempt: makes an attempt. An exception is a bug: it is logged, and the attempt repeated, later each time.
        threads: the maximum number of attempts at the same time.
        holding: returns the context of an attempt.
        hand_back: called with the ref of a delivery if a stop interrupts its attempt, before another can begin.
    """

    def __init__(
        self,
        attempt: Attempt,
        threads: int,
        holding: Callable[[Held], AbstractContextManager[None]],
        hand_back: Callable[[int], None] = lambda ref: None,
    ) -> None:
        self._attempt = attempt
        self._hand_back = hand_back
        self._threads = threads
        self._holding = holding
        self._work: queue.SimpleQueue[Rest | None] = queue.SimpleQueue()
        self._over: set[int | None] = set()
        self._watch = Watch()

    def open(self) -> None:
        """Start the threads. They are daemons: an attempt that never ends does not keep the process alive."""
        self._watch.open()
        for number in range(self._threads):
            threading.Thread(target=self._run_attempts, name=f"delivery-{number}", daemon=True).start()

    def close(self) -> None:
        """Tell the threads to end, each after its current attempt."""
        for _ in range(self._threads):
            self._work.put(None)
        self._watch.close()

    async def run(self, context: JobContext, delivery_ref: int) -> None:
        """Make an attempt of the delivery of a job."""
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[Retry | None] = loop.create_future()
        held = Held(context.job.id, context.job.worker_id)

        def tell(again: Retry | None) -> None:
            if held.is_over and not again:
                self._over.add(held.job_id)
            with suppress(RuntimeError):  # the worker has stopped, and its loop is closed
                loop.call_soon_threadsafe(_tell, ended, again)

        making = Making(self._attempt, delivery_ref, context.job.attempts, partial(self._holding, held), tell)
        self._work.put(partial(making.go_on, self._watch, self._replace))
        try:
            again = await ended
        except asyncio.CancelledError:
            await asyncio.to_thread(self._hand_back, delivery_ref)
            raise
        if again:
            raise _Again(again)

    def is_over(self, job_id: int) -> bool:
        """Return True if the attempt has removed its job from the queue itself; call this once for each job."""
        if job_id not in self._over:
            return False
        self._over.remove(job_id)
        return True

    def _replace(self, rest: Rest) -> None:
        """Start a replacement thread, which begins with the remaining steps of an attempt past its timeout."""
        threading.Thread(target=self._run_attempts, args=(rest,), name="delivery-more", daemon=True).start()

    def _run_attempts(self, first: Rest | None = None) -> None:
        work = first or self._work.get()
        while work and work():
            work = self._work.get()


def _tell(ended: asyncio.Future[Retry | None], again: Retry | None) -> None:
    if not ended.done():
        ended.set_result(again)
