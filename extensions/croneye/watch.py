"""Looks again and again for what no service tells: jobs that did not run, and runs that did not end."""

import time
from collections.abc import Callable
from datetime import UTC, datetime

from extension_kit.protocol import Host

from .lost import report_lost
from .overdue import report_overdue
from .settings import CronEyeSettings

EVERY = 2.0
"""Seconds between looks."""

_CATCHING_UP = 60.0  # seconds


class Watch:
    """Looks for overdue jobs and lost runs again and again, from a while after its first time on.

    Services send what happened while this extension was away once it is back: the kit's after half a minute at most.

    Args:
        clock: seconds that go by.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began: float | None = None

    def __call__(self, host: Host, settings: CronEyeSettings) -> None:
        """Report what is overdue, and what is lost."""
        now = self._clock()
        if self._began is None:
            self._began = now
        for report, patience in ((report_overdue, settings.overdue_after), (report_lost, settings.lost_after)):
            if now - self._began >= min(patience, _CATCHING_UP):
                report(host, settings, datetime.now(UTC))
