"""Silent databases: after a missing answer, callers fail at once, and one at a time tries again."""

import threading
import time

from extension_kit.errors import StoreError, StoreSilent, StoreUnavailable
from extension_kit.store.deadline import Limit

_PAUSE = 1.0  # seconds after which a caller tries again
_MOST = 0.75  # of the time allowed; a failure after that counts as a missing answer


class Silence:
    """State of one database: answering or silent. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._error: StoreError | None = None
        self._next = 0.0

    def admit(self, timeout: float) -> None:
        """Admit callers to the database; while it is silent, one at a time.

        Args:
            timeout: maximum seconds of the caller's use.

        Raises:
            StoreSilent: the database is silent, and it is not this caller's turn to try it.
        """
        if self._error is None:
            return
        with self._lock:
            if self._error is not None and time.monotonic() < self._next:
                raise StoreSilent(str(self._error), _PAUSE)
            self._next = time.monotonic() + timeout + _PAUSE

    def judge(self, error: StoreError, limit: Limit, *, is_answer: bool) -> StoreError:
        """Record the failure of a caller, and return the error to raise instead.

        Args:
            error: the failure.
            limit: the caller's time.
            is_answer: True if the database itself has said so, however late: others may use it.
        """
        is_late = not is_answer and not limit.each and limit.left() < (1 - _MOST) * limit.seconds
        waited = isinstance(error, StoreUnavailable) and is_late
        if not waited and not isinstance(error, StoreSilent):
            self.end()
            return error
        with self._lock:
            self._next = time.monotonic() + _PAUSE
            self._error = error if isinstance(error, StoreSilent) else StoreSilent(str(error), _PAUSE)
            return self._error

    def end(self) -> None:
        """Record that the database answers."""
        if self._error is not None:
            with self._lock:
                self._error = None
