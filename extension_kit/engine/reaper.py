"""Reaper: finds dead workers by their missing heartbeats, and reschedules their jobs."""

import asyncio
import logging
from collections import Counter
from functools import partial

from procrastinate.manager import JobManager

from extension_kit.engine.app import QUEUE
from extension_kit.engine.outages import Outages
from extension_kit.engine.store import Store

logger = logging.getLogger("extension_kit.engine")

_LOOKS = 3  # in a row without a heartbeat, after which a worker is dead


class Reaper:
    """Finds dead workers. Every worker runs one.

    A worker is dead when it has sent no heartbeat for half of ``stalled_after``, and none for a third more. The
    repeated checks make clock changes and suspended machines safe: living workers have sent a heartbeat by then.

    Args:
        manager: finds stalled jobs.
        store: the job store.
        outages: retries queries while the database is unavailable.
        stalled_after: seconds within which other workers take over the jobs of a dead worker.
    """

    def __init__(self, manager: JobManager, store: Store, outages: Outages, stalled_after: float) -> None:
        self._manager = manager
        self._store = store
        self._outages = outages
        self._silence = stalled_after / 2
        self._interval = stalled_after / 6
        self._silent: Counter[int] = Counter()

    async def run(self) -> None:
        """Check regularly, until cancelled."""
        while True:
            await asyncio.sleep(self._interval)
            await self.look()

    async def look(self) -> None:
        """Check once."""
        stalled = await self._manager.get_stalled_jobs(queue=QUEUE, seconds_since_heartbeat=self._silence)
        workers = {job.worker_id for job in stalled}
        self._silent = Counter({worker: self._silent[worker] + 1 for worker in workers if worker is not None})
        dead = [worker for worker, looks in self._silent.items() if looks >= _LOOKS]
        if dead or None in workers:
            taken = await self._outages.outlast(partial(self._store.take_over, dead, self._silence))
            if taken:  # else another worker did it in the same moment
                logger.warning("Took over %d deliveries of dead workers", taken)
