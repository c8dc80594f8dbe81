"""When jobs that a worker has put off are due, by a clock that nobody sets."""

import heapq
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

_REMEMBERED = 10_000
_TOLERANCE = timedelta(seconds=0.5)  # between the two clocks


class Delays:
    """Finds jobs whose time has come although the system's clock, which has been set back, says that it has not.

    Args:
        clock: seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._due: list[tuple[float, int, datetime]] = []

    @property
    def wait(self) -> float | None:
        """The seconds until the next of them is due; None without any."""
        return max(self._due[0][0] - self._clock(), 0.0) if self._due else None

    def add(self, job_id: int, due_at: datetime) -> None:
        """Remember when a job is due, unless very many are remembered already."""
        seconds = (due_at - datetime.now(UTC)).total_seconds()
        if seconds > 0 and len(self._due) < _REMEMBERED:
            heapq.heappush(self._due, (self._clock() + seconds, job_id, due_at))

    def overdue(self) -> list[int]:
        """Forget the jobs that are due, and return those which the system's clock still keeps waiting."""
        found = []
        while self._due and self._due[0][0] <= self._clock():
            _, job_id, due_at = heapq.heappop(self._due)
            if datetime.now(UTC) < due_at - _TOLERANCE:
                found.append(job_id)
        return found
