"""Hung runs: counts handlers that exceeded their timeout (``engine/making.py``), and has the process replaced."""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Protocol

logger = logging.getLogger("extension_kit.deliveries")

_RENEWALS_APART = 60.0


class Run(Protocol):
    """A thread, or a task, that runs a handler."""

    def is_alive(self) -> bool:
        """Return True if it has not ended."""


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
        self._runs: list[tuple[str, Run]] = []
        self._blocking: list[Run] = []
        self._began = time.monotonic()
        self._timer: threading.Timer | None = None

    def add(self, listener: str, run: Run, *, blocks_others: bool = False) -> None:
        """Count a run of a listener until its thread ends.

        Args:
            listener: the listener.
            run: the thread or task.
            blocks_others: True if nothing else runs meanwhile, which calls for a new process whatever the limit is.
        """
        with self._lock:
            self._runs.append((listener, run))
            if blocks_others:
                self._blocking.append(run)
        self._recycle_if_full()

    def by_listener(self) -> Counter[str]:
        """Return the number of hung runs of each listener."""
        if not self._runs:  # as nearly always
            return Counter()
        with self._lock:
            self._runs = [(listener, run) for listener, run in self._runs if run.is_alive()]
            return Counter(listener for listener, _ in self._runs)

    def _is_full(self) -> bool:
        with self._lock:
            self._blocking = [run for run in self._blocking if run.is_alive()]
        return bool(self._blocking) or self.by_listener().total() >= self._limit

    def _recycle_if_full(self) -> None:
        if not self._is_full():
            return
        wait = self._began + self._apart - time.monotonic()
        with self._lock:
            if self._timer is not None:
                return
            self._timer = threading.Timer(max(wait, 0.0), self._renew_if_needed)
            self._timer.daemon = True
            self._timer.start()

    def _renew_if_needed(self) -> None:
        if self._is_full():
            by_listener = self.by_listener()
            logger.error(
                "Replacing this process, functions do not return: %s",
                ", ".join(f"{listener} ({runs} runs)" for listener, runs in by_listener.most_common(3)),
            )
            self._renew()
            return
        with self._lock:
            self._timer = None
