"""Hung runs: counts handlers that exceeded their timeout (``engine/making.py``), and has the process replaced."""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable

logger = logging.getLogger("extension_kit.deliveries")

_RENEWALS_APART = 60.0


class HungRuns:
    """Counts hung runs, and asks for a new process when they hold too many threads of this one.

    Python cannot stop a thread. Each hung run counts as a running one of its listener, so threads stay bounded; but a
    listener with functions that never return would come to a standstill.

    Args:
        limit: number of hung runs at which a new process is asked for.
        renew: asks for it; called once.
        apart: minimum seconds that a process is used.
    """

    def __init__(self, limit: int, renew: Callable[[], None], apart: float = _RENEWALS_APART) -> None:
        self._limit = limit
        self._renew = renew
        self._apart = apart
        self._lock = threading.Lock()
        self._runs: list[tuple[str, threading.Thread]] = []
        self._began = time.monotonic()
        self._timer: threading.Timer | None = None

    def add(self, listener: str, thread: threading.Thread) -> None:
        """Count a run of a listener until its thread ends."""
        with self._lock:
            self._runs.append((listener, thread))
        self._recycle_if_full()

    def by_listener(self) -> Counter[str]:
        """Return the number of hung runs of each listener."""
        if not self._runs:  # as nearly always
            return Counter()
        with self._lock:
            self._runs = [(listener, thread) for listener, thread in self._runs if thread.is_alive()]
            return Counter(listener for listener, _ in self._runs)

    def _recycle_if_full(self) -> None:
        if self.by_listener().total() < self._limit:
            return
        wait = self._began + self._apart - time.monotonic()
        with self._lock:
            if self._timer is not None:
                return
            self._timer = threading.Timer(max(wait, 0.0), self._renew_if_needed)
            self._timer.daemon = True
            self._timer.start()

    def _renew_if_needed(self) -> None:
        by_listener = self.by_listener()
        if by_listener.total() >= self._limit:
            logger.error(
                "Replacing this process, functions do not return: %s",
                ", ".join(f"{listener} ({runs} runs)" for listener, runs in by_listener.most_common(3)),
            )
            self._renew()
            return
        with self._lock:
            self._timer = None
