"""The periodic task that reports overdue jobs and lost runs, which no service reports itself."""

import time
from collections.abc import Callable
from datetime import UTC, datetime

from extension_kit.protocol import Kit

from .lost import report_lost
from .overdue import report_overdue
from .settings import CronEyeSettings

EVERY = 2.0
"""Seconds between calls of the task."""

_CATCHING_UP = 60.0  # seconds


class Watch:
    """Reports overdue jobs and lost runs, but not in the first minute, or shorter patience, after its first call.

    Services first send the events that occurred while this extension was away: this kit's client does so within half a
    minute.

    Args:
        clock: returns monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began: float | None = None

    def __call__(self, kit: Kit, settings: CronEyeSettings) -> None:
        """Report overdue jobs and lost runs."""
        now = self._clock()
        if self._began is None:
            self._began = now
        for report, patience in ((report_overdue, settings.overdue_after), (report_lost, settings.lost_after)):
            if now - self._began >= min(patience, _CATCHING_UP):
                report(kit, settings, datetime.now(UTC))
