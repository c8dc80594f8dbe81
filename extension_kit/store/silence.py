"""Remembers that a database did not answer, so that not everybody who comes waits for it as long again."""

import threading
import time

from extension_kit.errors import StoreError, StoreSilent, StoreUnavailable
from extension_kit.store.deadline import Limit

_PAUSE = 1.0  # seconds after which somebody waits for it again
_MOST = 0.75  # of the time allowed; what fails after that has been waiting, whatever for


class Silence:
    """Whether a database answers. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._error: StoreError | None = None
        self._next = 0.0

    def admit(self, timeout: float) -> None:
        """Let one caller at a time find out whether a database that was silent answers again.

        Args:
            timeout: seconds that it takes at most.

        Raises:
            StoreSilent: it is known not to answer, and this caller need not wait for it.
        """
        if self._error is None:
            return
        with self._lock:
            if self._error is not None and time.monotonic() < self._next:
                raise StoreSilent(str(self._error), _PAUSE)
            self._next = time.monotonic() + timeout + _PAUSE

    def judge(self, error: StoreError, limit: Limit) -> StoreError:
        """Note why somebody has failed, and return the error to raise instead."""
        waited = isinstance(error, StoreUnavailable) and not limit.each and limit.left() < (1 - _MOST) * limit.seconds
        if not waited and not isinstance(error, StoreSilent):
            self.end()
            return error
        with self._lock:
            self._next = time.monotonic() + _PAUSE
            self._error = error if isinstance(error, StoreSilent) else StoreSilent(str(error), _PAUSE)
            return self._error

    def end(self) -> None:
        """Note that it answers."""
        if self._error is not None:
            with self._lock:
                self._error = None
