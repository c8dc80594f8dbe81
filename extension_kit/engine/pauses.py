"""Pauses in a worker: the receivers that are paused as it knows them, and the claims that it gives up for them."""

import math

from sqlalchemy import Connection

from extension_kit.deliveries.pauses import Pauses, read_pauses
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
