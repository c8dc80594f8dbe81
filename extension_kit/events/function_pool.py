"""Thread pool for user functions, so that a slow function does not delay the receiving of other events."""

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable

logger = logging.getLogger(__name__)

Task = Callable[[], None]


class FunctionPool:
    """A bounded number of threads behind a bounded queue.

    Threads are started on demand and are daemons: a function that never returns occupies its thread, but does not keep
    the process alive. Tasks must not raise.

    Args:
        threads: maximum number of tasks that run at the same time.
        queue_limit: maximum number of tasks that wait for a thread.
    """

    def __init__(self, threads: int, queue_limit: int) -> None:
        self._limit = threads
        self._queue_limit = queue_limit
        # Faster than concurrent.futures, which costs a Future, a Condition and a semaphore for each event.
        self._tasks: deque[Task | None] = deque()  # None ends a thread
        self._calls: queue.SimpleQueue[None] = queue.SimpleQueue()  # each wakes an idle thread
        self._is_called = False  # a thread has been called, and has not come yet
        self._threads: list[threading.Thread] = []
        self._idle = 0
        self._lock = threading.Lock()
        self._closed = False

    def submit(self, task: Task) -> bool:
        """Have a thread run the task; return False if the queue is full or the pool closed."""
        if not self.has_room(1):
            return False
        self.submit_all([task])
        return True

    def has_room(self, number: int) -> bool:
        """Return True if so many more tasks may wait."""
        return len(self._tasks) + number <= self._queue_limit and not self._closed

    def submit_all(self, tasks: Iterable[Task]) -> None:
        """Have threads run tasks that there is room for."""
        self._tasks.extend(tasks)
        if not self._is_called:
            self._call_thread()

    def _call_thread(self) -> None:
        """Have one more thread look for tasks.

        One at a time is called: it calls the next one if there are more tasks, before it runs its own. So a slow task
        holds up no other, and many quick ones, which arrive together, do not wake a thread each.
        """
        self._is_called = True
        self._calls.put(None)
        if not self._idle and len(self._threads) < self._limit:
            self._start_thread()

    @property
    def waiting(self) -> int:
        """The number of tasks that wait for a thread."""
        return len(self._tasks)

    def close(self, timeout: float) -> bool:
        """Accept no more tasks and wait up to ``timeout`` seconds for accepted ones; return True if all have ended."""
        self._closed = True
        deadline = time.monotonic() + timeout
        for _ in self._threads:
            self._tasks.append(None)
            self._calls.put(None)
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _start_thread(self) -> None:
        with self._lock:
            if len(self._threads) >= self._limit:
                return
            thread = threading.Thread(target=self._work, name=f"listener-{len(self._threads)}", daemon=True)
            self._threads.append(thread)
        thread.start()

    def _work(self) -> None:
        while True:
            # A hint only: counting it without the lock is cheap, and being off by one starts a thread early at worst.
            self._idle += 1
            self._calls.get()
            self._idle -= 1
            self._is_called = False  # before the tasks are looked at: a later one calls a thread again
            while self._tasks:
                try:
                    task = self._tasks.popleft()
                except IndexError:  # another thread was faster
                    break
                if task is None:
                    return
                if self._tasks and not self._is_called:
                    self._call_thread()
                try:
                    task()
                except BaseException:
                    logger.exception("Unhandled exception in a pool thread, continuing")
                del task  # an idle thread keeps no event
