"""Embedded worker: makes deliveries in a thread of a WSGI process, which has no worker process beside it."""

import atexit
import logging
import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from extension_kit.engine.worker import DeliveryWorker

logger = logging.getLogger("extension_kit.deliveries")

_HAND_BACK_TIMEOUT = 3.0  # seconds

# atexit is too late: attempts may need threads of executors, which take no more work by then.
_before_threads_end: Callable[[Callable[[], None]], object] = getattr(threading, "_register_atexit", atexit.register)


class EmbeddedWorker:
    """A delivery worker in a thread of this process.

    Args:
        make_worker: makes the worker, at the first ``start``.
        grace_period: seconds that attempts in progress have to end when the process ends.
    """

    def __init__(self, make_worker: "Callable[[], DeliveryWorker]", grace_period: float) -> None:
        self._make_worker = make_worker
        self._grace_period = grace_period
        self._worker: DeliveryWorker | None = None
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def start(self) -> None:
        """Start the worker, unless it has been started in this process."""
        with self._starting:
            if self._worker is not None:
                return
            self._worker = self._make_worker()
        self._thread = threading.Thread(target=self._worker.run, name="deliveries", daemon=True)
        _before_threads_end(partial(self.stop, self._grace_period + _HAND_BACK_TIMEOUT))
        self._thread.start()
        logger.info("Embedded delivery worker started")

    def stop(self, timeout: float) -> None:
        """Stop the worker, and wait at most ``timeout`` seconds for its end."""
        if self._worker is not None and self._thread is not None and self._thread.is_alive():  # False after a fork
            self._worker.stop()
            self._thread.join(timeout)
