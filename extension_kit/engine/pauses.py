"""Pauses in a worker: the receivers that are paused, and the functions that rest because they are not ready.

The worker begins no attempts for them, and gives up its claims of their deliveries.
"""

import math

from sqlalchemy import Connection

from extension_kit.deliveries.pauses import Pauses, read_pauses
from extension_kit.deliveries.readiness import Readiness, Resting
from extension_kit.engine.holdings import Holdings
from extension_kit.engine.lanes import Lanes

_APART = 0.5  # seconds between two looks


class KnownPauses:
    """The paused receivers, read at most twice a second, and only after news; used by one thread.

    Args:
        holdings: the lanes and claims of the worker.

    Attributes:
        now: the pauses as of the last look.
        due_at: the time of the next look, by ``time.monotonic()``.
    """

    def __init__(self, holdings: Holdings) -> None:
        self._holdings = holdings
        self._looked = -math.inf
        self.now = Pauses()
        self.due_at = -math.inf

    def hear(self, at: float) -> None:
        """Note that others have changed the database, and may have paused or resumed a receiver."""
        self.due_at = min(self.due_at, max(at, self._looked + _APART))

    def look(self, connection: Connection, lanes: Lanes, at: float) -> bool:
        """Read the paused receivers, and give up their claims without a begun attempt, which do not count as attempts.

        Returns:
            True if a receiver is not paused any more.
        """
        before, self.now = self.now.paused, read_pauses(connection)
        self._looked, self.due_at = at, math.inf
        if paused := self.now.paused:
            self._holdings.stop(lanes, lambda lane: lane.listener in paused)
        return not before <= paused


class KnownRests:
    """The functions that are not ready; used by one thread.

    Args:
        holdings: the lanes and claims of the worker.
        readiness: the functions that are not ready.

    Attributes:
        due_at: the time of the next probe, by ``time.monotonic()``.
    """

    def __init__(self, holdings: Holdings, readiness: Readiness) -> None:
        self._holdings = holdings
        self._readiness = readiness
        self._version = -1
        self._now = Resting()
        self.due_at = math.inf

    def look(self, lanes: Lanes, at: float) -> bool:
        """Give up the claims of functions that rest from now on; return True if others may be claimed now."""
        if self._readiness.version == self._version and at < self.due_at:
            return False
        self._version = self._readiness.version
        before, self._now = self._now.listeners, self._readiness.resting()
        self.due_at = self._now.until
        if resting := self._now.listeners:
            self._holdings.stop(lanes, lambda lane: lane.listener in resting)
        return not before <= resting

    def with_pauses(self, pauses: Pauses) -> Pauses:
        """Return paused receivers with the functions that rest, or that are probed by a delivery that is claimed."""
        if not self._now.listeners and not self._now.probed:
            return pauses
        held = {lane.listener for lane in self._holdings.lanes}
        return pauses._replace(
            paused=pauses.paused | self._now.listeners | (self._now.probed & held),
            probed=self._now.probed - held,
        )
