"""The task of every job: make one attempt of a delivery on a thread, and come again if it says so."""

import asyncio
import logging
import queue
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from procrastinate.job_context import JobContext
from procrastinate.jobs import Job
from procrastinate.retry import BaseRetryStrategy, RetryDecision

from extension_kit.engine.app import Held
from extension_kit.errors import StoreError

logger = logging.getLogger("extension_kit.engine")

_LONGEST_PAUSE = 3600.0  # seconds after an attempt that raised
_STORE_PAUSE = 1.0  # seconds after an attempt for which the database was not there


class Retry(NamedTuple):
    """When a delivery is to be attempted again, and under which lock if not under its own."""

    due_at: datetime
    lock: str | None = None


Attempt = Callable[[int], datetime | Retry | None]
"""Makes one attempt of the delivery of this number; says when to make the next, or None when the delivery has ended."""


class _Again(Exception):
    """How a task of procrastinate says that it is to be done again."""

    def __init__(self, retry: Retry) -> None:
        super().__init__()
        self.retry = retry


class When(BaseRetryStrategy):
    """Tells procrastinate when a job is done again: when its task says so, or at once if a stop has broken it off."""

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision:
        """Take the task's word."""
        if isinstance(exception, _Again):
            return RetryDecision(retry_at=exception.retry.due_at, lock=exception.retry.lock)
        return RetryDecision()


class Task:
    """Runs jobs.

    Args:
        attempt: makes one. Raising is a mistake in it: that is logged, and it is made again, later each time.
        threads: how many attempts are made at the same time at most.
        holding: the context in which an attempt is made.
        hand_back: told of a delivery whose attempt is broken off by a stop, before others can begin another.
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
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._over: set[int | None] = set()

    def open(self) -> None:
        """Start the threads. They are daemons: an attempt that never ends keeps its thread, but not the process."""
        for number in range(self._threads):
            threading.Thread(target=self._run_attempts, name=f"delivery-{number}", daemon=True).start()

    def close(self) -> None:
        """Let the threads end, each after its attempt."""
        for _ in range(self._threads):
            self._work.put(None)

    async def run(self, context: JobContext, delivery_ref: int) -> None:
        """Make an attempt of the delivery that a job is for."""
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[Retry | None] = loop.create_future()

        def work() -> None:
            held = Held(context.job.id, context.job.worker_id)
            with self._holding(held):
                again = self._make(delivery_ref, context.job.attempts)
            if held.is_over and not again:
                self._over.add(held.job_id)
            with suppress(RuntimeError):  # the worker has stopped without waiting any longer
                loop.call_soon_threadsafe(_tell, ended, again)

        self._work.put(work)
        try:
            again = await ended
        except asyncio.CancelledError:
            await asyncio.to_thread(self._hand_back, delivery_ref)
            raise
        if again:
            raise _Again(again)

    def is_over(self, job_id: int) -> bool:
        """Whether the attempt has taken its job off the queue by itself; to be asked once for each job."""
        if job_id not in self._over:
            return False
        self._over.remove(job_id)
        return True

    def _run_attempts(self) -> None:
        while work := self._work.get():
            work()

    def _make(self, delivery_ref: int, earlier: int) -> Retry | None:
        try:
            return _checked(self._attempt(delivery_ref))
        except StoreError as error:
            logger.warning("The attempt of delivery %d is made again: %s", delivery_ref, error)
            return Retry(_in_seconds(_STORE_PAUSE))
        except BaseException:
            pause = min(2.0 ** min(earlier, 20), _LONGEST_PAUSE)
            logger.exception("The attempt of delivery %d raised, and is made again in %g s", delivery_ref, pause)
            return Retry(_in_seconds(pause))


def _checked(again: datetime | Retry | None) -> Retry | None:
    retry = Retry(again) if isinstance(again, datetime) else again
    if retry is not None and retry.due_at.utcoffset() is None:
        raise ValueError(f"to try again at {retry.due_at} says nothing without a time zone")
    return retry


def _tell(ended: asyncio.Future[Retry | None], again: Retry | None) -> None:
    if not ended.done():
        ended.set_result(again)


def _in_seconds(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)
