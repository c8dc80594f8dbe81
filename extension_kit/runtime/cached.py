"""Cached values: a slow value is computed once for concurrent callers, and kept for a second."""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

logger = logging.getLogger("extension_kit.server")

T = TypeVar("T")


class Cached(Generic[T]):
    """Caches a slow value. Concurrent callers share one computation and wait at most ``patience`` seconds.

    Args:
        compute: computes the value, on a thread of its own.
        keep: seconds for which a value is returned again.
        patience: seconds from the start of ``compute`` after which no caller waits for it. If ``compute`` hangs, only
            one call of it hangs.
    """

    def __init__(self, compute: Callable[[], T], keep: float = 1.0, patience: float = 2.0) -> None:
        self._compute = compute
        self._keep = keep
        self._patience = patience
        self._lock = threading.Lock()
        self._computing: Future[T] | None = None
        self._until = 0.0
        self._since = 0.0

    def __call__(self) -> T | None:
        """Return the value; None if ``compute`` failed or is late."""
        with self._lock:
            if self._computing is None or (self._computing.done() and time.monotonic() >= self._until):
                self._computing, self._since = Future(), time.monotonic()
                threading.Thread(target=self._work, args=(self._computing,), name="cached-value", daemon=True).start()
            computing, left = self._computing, self._since + self._patience - time.monotonic()
        try:
            return computing.result(max(left, 0))
        except Exception:
            logger.debug("Cached value unavailable", exc_info=True)
            return None

    def _work(self, computing: Future[T]) -> None:
        try:
            value = self._compute()
        except Exception as error:
            self._until = time.monotonic() + self._keep
            computing.set_exception(error)
        else:
            self._until = time.monotonic() + self._keep
            computing.set_result(value)
