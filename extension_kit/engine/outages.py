"""Outages: how long to wait for an unavailable database, with one log line at each end."""

import logging
import time

logger = logging.getLogger("extension_kit.engine")

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 2.0  # seconds between attempts


class Outages:
    """The outages of a database, as one thread sees them.

    Args:
        paused: the work of the thread, as log lines name it: "Database unavailable, deliveries paused".
    """

    def __init__(self, paused: str = "deliveries") -> None:
        self._paused = paused
        self._since: float | None = None
        self._pause = _FIRST_PAUSE

    def begin(self, error: Exception) -> float:
        """Note that the database is unavailable, and return the seconds until the next attempt."""
        if self._since is None:
            self._since, self._pause = time.monotonic(), _FIRST_PAUSE
            logger.error("Database unavailable, %s paused: %s", self._paused, error)
        pause, self._pause = self._pause, min(2 * self._pause, _LONGEST_PAUSE)
        return pause

    def end(self) -> None:
        """Note that the database is available."""
        if self._since is not None:
            logger.info("%s resumed after %.1f s", self._paused.capitalize(), time.monotonic() - self._since)
            self._since = None
