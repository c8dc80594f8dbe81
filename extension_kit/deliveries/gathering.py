"""Gathering: the moment at which a group commit begins, so that it has as many items as possible."""

import threading
import time
from collections.abc import Callable

from extension_kit.deliveries.loop_calls import LoopCalls

_LONGEST = 0.002  # seconds an item waits for others before its commit begins


class Gathering:
    """Lets a commit begin as soon as the loop brings no more items for a moment.

    Args:
        lock: guards the waiting items.
        count: returns their number; called with the lock.
        enough: number of items that a commit takes.
        loop: brings items; without one, a commit begins with the first.
    """

    def __init__(self, lock: threading.Lock, count: Callable[[], int], enough: int, loop: LoopCalls) -> None:
        self._lock = lock
        self._count = count
        self._enough = enough
        self._loop = loop
        self._ended = threading.Condition(lock)
        self._has_ended = False
        self._is_idle = False  # True: the first item to arrive begins the gathering
        self._is_closed = False

    def arrive(self) -> bool:
        """Note an item, with the lock. Return True if ``begin`` has to be called after it."""
        is_idle, self._is_idle = self._is_idle, False
        return is_idle

    def begin(self) -> None:
        """Begin to gather items."""
        self._gather(0, time.monotonic() + _LONGEST)

    def close(self) -> None:
        """Gather no more, with the lock."""
        self._is_closed = True
        self._ended.notify()

    def wait(self, seconds: float) -> None:
        """Wait until items are gathered, or that long if none arrives."""
        with self._lock:
            self._is_idle = is_idle = self._count() == 0
        if not is_idle:
            self.begin()
        with self._lock:
            if not self._has_ended and not self._is_closed:
                self._ended.wait(seconds)
            self._has_ended = self._is_idle = False

    def _gather(self, seen: int, until: float) -> None:
        with self._lock:
            waiting = self._count()
            is_over = self._is_closed or time.monotonic() > until or not self._loop.is_attached
            if is_over or not seen < waiting < self._enough:
                self._has_ended = True
                self._ended.notify()
                return
        self._loop.call(self._gather, waiting, until)
