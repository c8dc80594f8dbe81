"""Log lines of repeated failures: one at the beginning, one at the recovery, at most one pair an interval."""

import logging
import threading
import time
from collections.abc import Callable


class RepeatedFailure:
    """A kind of failure that may repeat often. Thread-safe.

    Args:
        logger: the logger of the lines.
        level: level of the line about the failure; that about the recovery is a warning.
        interval: minimum seconds between two lines about the failure.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        logger: logging.Logger,
        level: int = logging.WARNING,
        interval: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._logger = logger
        self._level = level
        self._interval = interval
        self._clock = clock
        self._quiet_until = 0.0
        self._logged = False
        self._count = 0
        self._lock = threading.Lock()

    def failed(self, message: str, *arguments: object) -> None:
        """Count a failure, and log it if it is the first one and the interval has passed."""
        with self._lock:
            self._count += 1
            now = self._clock()
            if self._logged or now < self._quiet_until:
                return
            self._logged, self._quiet_until = True, now + self._interval
        self._logger.log(self._level, message, *arguments)

    def recovered(self, message: str, *arguments: object) -> None:
        """Log the recovery if the failure was logged; the number of failures is the last argument of the message."""
        with self._lock:
            logged, self._logged = self._logged, False
            if not logged:
                return
            count, self._count = self._count, 0
        self._logger.warning(message, *arguments, count)
