"""Threads for what may never return."""

import queue
import threading
from collections import deque
from collections.abc import Callable

from extension_kit.deliveries.abandoned import AbandonedRuns

Work = Callable[[], None]


class Runners:
    """Runs functions, each on a thread of its own, which is used again once its function has returned.

    Args:
        abandoned: where runs are counted that did not return in time.
    """

    def __init__(self, abandoned: AbandonedRuns) -> None:
        self._abandoned = abandoned
        self._idle: deque[_Runner] = deque()

    def run(self, listener: str, work: Work, timeout: float) -> None:
        """Run ``work``, which must not raise, for a listener; return when it has, or after ``timeout`` seconds.

        It goes on then, and nobody waits for it any more.
        """
        try:
            runner = self._idle.pop()
        except IndexError:
            runner = _Runner()
            runner.start()
        returned: queue.SimpleQueue[None] = queue.SimpleQueue()
        runner.work.put((work, returned))
        try:
            returned.get(timeout=timeout)
        except queue.Empty:
            runner.work.put(None)
            self._abandoned.add(listener, runner)
        else:
            self._idle.append(runner)


class _Runner(threading.Thread):
    def __init__(self) -> None:
        super().__init__(name="delivery-runner", daemon=True)
        self.work: queue.SimpleQueue[tuple[Work, queue.SimpleQueue[None]] | None] = queue.SimpleQueue()

    def run(self) -> None:
        while (given := self.work.get()) is not None:
            work, returned = given
            work()
            del given, work  # what it was given is not kept while it waits for more
            returned.put(None)
