"""Log lines about something that goes wrong again and again."""

import logging
import threading
import time
from collections.abc import Callable


class Trouble:
    """Says once that something goes wrong and once that it is over, and begins that once in a while at most.

    Args:
        logger: where it says so.
        level: of the line that says that it goes wrong.
        interval: seconds between such lines.
        clock: seconds that never go back.
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
        self._told = False
        self._count = 0
        self._lock = threading.Lock()

    def occurs(self, message: str, *arguments: object) -> None:
        """Note that it goes wrong (again)."""
        with self._lock:
            self._count += 1
            now = self._clock()
            if self._told or now < self._quiet_until:
                return
            self._told, self._quiet_until = True, now + self._interval
        self._logger.log(self._level, message, *arguments)

    def is_over(self, message: str, *arguments: object) -> None:
        """Note that all is well; the last argument of the message is how often it went wrong since that was told."""
        with self._lock:
            told, self._told = self._told, False
            if not told:
                return
            count, self._count = self._count, 0
        self._logger.warning(message, *arguments, count)
