"""Finds workers that died, and has their jobs done again."""

import asyncio
import logging
from collections import Counter
from functools import partial

from procrastinate.manager import JobManager

from extension_kit.engine.app import QUEUE
from extension_kit.engine.outages import Outages
from extension_kit.engine.store import Store

logger = logging.getLogger("extension_kit.engine")

_LOOKS = 3  # in a row, after which a worker that has given no sign of life is dead


class Reaper:
    """Runs in every worker.

    A worker is dead when it is silent for half of ``stalled_after``, and still is after a third more. That it is seen
    again and again makes it safe to set the clock, or to suspend the machine: those who live have given a sign by then.

    Args:
        manager: knows which jobs are stalled.
        store: where jobs are.
        outages: outlasts those of the store.
        stalled_after: seconds within which the jobs of a dead worker are done by others.
    """

    def __init__(self, manager: JobManager, store: Store, outages: Outages, stalled_after: float) -> None:
        self._manager = manager
        self._store = store
        self._outages = outages
        self._silence = stalled_after / 2
        self._interval = stalled_after / 6
        self._silent: Counter[int] = Counter()

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(self._interval)
            await self.look()

    async def look(self) -> None:
        """Look once."""
        stalled = await self._manager.get_stalled_jobs(queue=QUEUE, seconds_since_heartbeat=self._silence)
        workers = {job.worker_id for job in stalled}
        self._silent = Counter({worker: self._silent[worker] + 1 for worker in workers if worker is not None})
        dead = [worker for worker, looks in self._silent.items() if looks >= _LOOKS]
        if dead or None in workers:
            taken = await self._outages.outlast(partial(self._store.take_over, dead, self._silence))
            if taken:  # and not by another worker in the same moment
                logger.warning("%d deliveries of workers that died are taken over", taken)
