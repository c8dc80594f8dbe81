"""Delays: due times of postponed jobs by the monotonic clock, which no clock change affects."""

import heapq
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

_REMEMBERED = 10_000
_TOLERANCE = timedelta(seconds=0.5)  # between the two clocks


class Delays:
    """Finds jobs that are due by the monotonic clock, but not by the system's clock, because it was set back.

    Args:
        clock: returns seconds of a monotonic clock.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._due: list[tuple[float, int, datetime]] = []

    @property
    def wait(self) -> float | None:
        """Seconds until the next job is due; None without jobs."""
        return max(self._due[0][0] - self._clock(), 0.0) if self._due else None

    def add(self, job_id: int, due_at: datetime) -> None:
        """Remember the due time of a job, for 10,000 jobs at most."""
        seconds = (due_at - datetime.now(UTC)).total_seconds()
        if seconds > 0 and len(self._due) < _REMEMBERED:
            heapq.heappush(self._due, (self._clock() + seconds, job_id, due_at))

    def overdue(self) -> list[int]:
        """Forget the jobs that are due, and return those that are not due by the system's clock."""
        found = []
        while self._due and self._due[0][0] <= self._clock():
            _, job_id, due_at = heapq.heappop(self._due)
            if datetime.now(UTC) < due_at - _TOLERANCE:
                found.append(job_id)
        return found
