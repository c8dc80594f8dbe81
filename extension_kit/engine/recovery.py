"""Recovery: claims of workers that died, and claims after a transaction of which the outcome is unknown."""

import logging
from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import Connection

from extension_kit.deliveries.attempt import after_loss, report
from extension_kit.deliveries.tables import READY
from extension_kit.engine.claiming import Claiming
from extension_kit.engine.holdings import Holdings
from extension_kit.engine.lanes import Lanes, end_scope, scope_of
from extension_kit.engine.queue import Queue
from extension_kit.engine.unwritten import Unwritten

logger = logging.getLogger("extension_kit.engine")


class Recovery:
    """Brings the database and a worker to agree, within the worker's transactions.

    Args:
        queue: the queue.
        claiming: finds handlers.
        holdings: the worker's lanes and claims.
    """

    def __init__(self, queue: Queue, claiming: Claiming, holdings: Holdings) -> None:
        self._queue = queue
        self._claiming = claiming
        self._holdings = holdings
        self._uncertain: set[datetime] = set()

    def doubt(self, claimed_at: datetime) -> None:
        """Note the time of a transaction that may or may not have been committed with its claims."""
        self._uncertain.add(claimed_at)

    def end_doubts(self) -> None:
        """Note that all such claims were given up."""
        self._uncertain.clear()

    def recover(self, connection: Connection, lanes: Lanes, shards: Sequence[int], now: datetime) -> bool:
        """Agree after a transaction of which the outcome is unknown.

        A crash of PostgreSQL may have taken claims back, and the worker may have lost its shards to others.

        Returns:
            True if claims of dead workers were ended, as by ``adopt``.
        """
        mine = set(shards)
        owned = [claim for claim in self._holdings.all_claims().values() if claim.shard in mine]
        restored = self._queue.restore(connection, owned) if owned else set()
        lost = self._holdings.claims.keys() - restored
        for lane in self._holdings.lanes:
            self._holdings.give_up(lanes.forget(lane, lost), READY)
        self._holdings.forget(lost)
        return self.adopt(connection, shards, now, but=restored)

    def adopt(self, connection: Connection, shards: Sequence[int], now: datetime, but: Collection[int] = ()) -> bool:
        """End the claims of dead workers in shards, and give up those of a transaction of this worker that failed.

        Of the claims with one lock, only the first counts as lost. Those behind it may have been made, too, if the end
        of the first was not written yet; they are made again.

        Args:
            connection: in the transaction.
            shards: the shards.
            now: the time.
            but: claims that are this worker's own, beside those that it holds.

        Returns:
            True if there were claims of dead workers.
        """
        claims = self._queue.claimed(connection, shards, {*but, *self._holdings.claims})
        adopted = Unwritten()
        begun = []
        for claim in claims:
            if claim.claimed_at in self._uncertain or claim.lock in adopted.locks:
                adopted.release([claim], READY)
            else:
                begun.append(claim)
            if claim.lock is not None:
                adopted.locks.add(claim.lock)
        adopted.ends = [after_loss(*job, now) for job in self._claiming.with_handlers(connection, begun)]
        adopted.write(self._queue, connection)
        for end in adopted.ends:
            end_scope(scope_of(end.claim, end.claim.claimed_at), end)
            report(end, counted=True)
        if begun:
            logger.warning("Took over %d deliveries of dead workers", len(begun))
        return bool(begun)
