"""Embedded worker: makes deliveries in a thread of a WSGI process, which has no worker process beside it."""

import atexit
import logging
import math
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from extension_kit.runtime.process_hooks import ProcessHooks, StartFailed

if TYPE_CHECKING:
    from extension_kit.engine.worker import DeliveryWorker

logger = logging.getLogger("extension_kit.deliveries")

_HAND_BACK_TIMEOUT = 3.0  # seconds

# atexit is too late: attempts may need threads of executors, which take no more work by then.
before_threads_end: Callable[[Callable[[], None]], object] = getattr(threading, "_register_atexit", atexit.register)


_LONGEST_PAUSE = 30.0  # seconds between two starts


class EmbeddedWorker:
    """A delivery worker in a thread of this process.

    Args:
        make_worker: makes the worker, at the first ``start``.
        grace_period: seconds that attempts in progress have to end when the process ends.
        begin: called before the worker runs, and again after a pause until it returns True. It is given a function that
            returns False once the process ends.
        end: called after the last attempt, with the seconds it has.
    """

    def __init__(
        self,
        make_worker: "Callable[[], DeliveryWorker]",
        grace_period: float,
        begin: Callable[[Callable[[], bool]], bool],
        end: Callable[[float], None],
    ) -> None:
        self._make_worker = make_worker
        self._grace_period = grace_period
        self._begin = begin
        self._end = end
        self._worker: DeliveryWorker | None = None
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._stopped = threading.Event()
        self._ends_at = math.inf

    def start(self) -> None:
        """Start the worker, unless it has been started in this process."""
        with self._starting:
            if self._worker is not None:
                return
            self._worker = self._make_worker()
        self._thread = threading.Thread(target=self._run, args=(self._worker,), name="deliveries", daemon=True)
        before_threads_end(partial(self.stop, self._grace_period + _HAND_BACK_TIMEOUT))
        self._thread.start()
        logger.info("Embedded delivery worker started")

    def stop(self, timeout: float) -> None:
        """Stop the worker, and wait at most ``timeout`` seconds for its end."""
        if self._worker is not None and self._thread is not None and self._thread.is_alive():  # False after a fork
            self._ends_at = time.monotonic() + timeout
            self._stopped.set()
            self._worker.stop()
            self._thread.join(timeout)

    def _run(self, worker: "DeliveryWorker") -> None:
        if repeat_until_true(self._begin, self._stopped):
            worker.run()
            self._end(max(self._ends_at - time.monotonic(), 0))


class BackgroundStart:
    """Calls the hooks of a WSGI process without a worker: those of the start in a thread, as a request cannot wait.

    Args:
        hooks: of the process.
        grace_period: seconds that the hooks of the stop have.
    """

    def __init__(self, hooks: ProcessHooks, grace_period: float) -> None:
        self._hooks = hooks
        self._grace_period = grace_period
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._is_started = False

    def start(self) -> None:
        """Start the thread, unless it has been started in this process or there is nothing to call."""
        if self._is_started or not self._hooks.hooks:
            return
        with self._lock:
            if self._is_started:
                return
            self._is_started = True
        before_threads_end(self.stop)
        begin = partial(repeat_until_true, self._begin, self._stopped)
        threading.Thread(target=begin, name="on-start", daemon=True).start()

    def stop(self) -> None:
        """Call the hooks of the stop."""
        self._stopped.set()
        self._hooks.stop(self._grace_period)

    def _begin(self, is_wanted: Callable[[], bool]) -> bool:
        try:
            return self._hooks.start(self._hooks.extensions, is_wanted)
        except StartFailed:
            return False


def repeat_until_true(begin: Callable[[Callable[[], bool]], bool], stopped: threading.Event) -> bool:
    """Call a function until it returns True, with pauses that grow to 30 s; return False once this is not wanted."""
    pause = 1.0
    while not begin(lambda: not stopped.is_set()):
        if stopped.wait(pause):
            return False
        pause = min(2 * pause, _LONGEST_PAUSE)
    return True
