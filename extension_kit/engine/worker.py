"""Delivery worker: makes the deliveries of a database, on threads, until it is stopped."""

import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import NamedTuple

from extension_kit.deliveries.filing import Filing
from extension_kit.deliveries.handler import FindHandler
from extension_kit.deliveries.hung_runs import HungRuns
from extension_kit.deliveries.notify import CHANNEL, INBOX_CHANNEL
from extension_kit.deliveries.readiness import Readiness
from extension_kit.deliveries.state import UnwrittenState
from extension_kit.deliveries.worker_rows import OpenCircuit
from extension_kit.engine.async_lanes import AsyncLanes
from extension_kit.engine.claiming import Claiming, TenantsOf
from extension_kit.engine.filing_thread import FilingThread
from extension_kit.engine.lanes import Lanes
from extension_kit.engine.notifications import Notifications
from extension_kit.engine.owner import Owner
from extension_kit.engine.pools import Pools
from extension_kit.engine.postgresql_owner import PostgresqlOwner
from extension_kit.engine.postgresql_queue import PostgresqlQueue
from extension_kit.engine.presence import Presence
from extension_kit.engine.queue import Queue
from extension_kit.engine.scribe import Scribe
from extension_kit.engine.shares import Shares, most
from extension_kit.engine.sqlite_owner import SqliteOwner
from extension_kit.engine.sqlite_queue import SqliteQueue
from extension_kit.errors import StoreError
from extension_kit.store.database import Database

logger = logging.getLogger("extension_kit.engine")

Experience = Callable[[], Iterable[tuple[str, float, bool]]]
"""Returns earlier attempts: listener, seconds, and True if the attempt ended its delivery."""


def no_tenants(listeners: Iterable[str]) -> dict[str, str]:
    """Return no tenant, ``""``, for every listener."""
    return dict.fromkeys(listeners, "")


class AsyncPool(NamedTuple):
    """The attempts of async functions, on the event loop of the process.

    Attributes:
        listeners: the async functions.
        attempts: the maximum number of attempts at the same time; up to half as many more, as for threads.
        hung_runs: counts attempts past their timeout.
    """

    listeners: Collection[str]
    attempts: int
    hung_runs: HungRuns


class DeliveryWorker:
    """Makes the attempts of due deliveries: one after the other for each lock, otherwise at the same time.

    Tenants and their listeners take turns. ``Shares`` describes how they share the threads.

    Args:
        database: the deliveries. Commits need not wait for the disk: an end that is lost is made again.
        find: finds the handler of a listener.
        hung_runs: counts attempts past their timeout.
        threads: the maximum number of attempts at the same time; up to half as many more while one listener uses
            borrowed threads that other listeners need.
        stalled_after: seconds of silence after which others take over the deliveries of this worker.
        grace_period: seconds that attempts have to end after ``stop``; other workers repeat unfinished attempts.
        name: the worker's name in the log.
        tenants_of: returns the tenants of listeners, so that tenants take turns.
        experience: returns earlier attempts, to tell quick from slow listeners.
        alive: called at least once a second, and while the database does not answer, at least every two timeouts and
            four seconds; None: nobody watches.
        filing: files accepted events while this worker makes deliveries; None: there is no inbox.
        open_circuits: returns the circuit breakers that are open, for the worker's row.
        readiness: the functions that are not ready; None: all are.
        unwritten_state: gets the changes of the state by ended deliveries until these are written.
        async_pool: the attempts of async functions; None: there are no async functions.
        sessions: the same database in PostgreSQL, by a URL with which a session can be kept; None: ``database`` is.
    """

    def __init__(
        self,
        database: Database,
        find: FindHandler,
        hung_runs: HungRuns,
        *,
        threads: int,
        stalled_after: float,
        grace_period: float,
        name: str,
        tenants_of: TenantsOf = no_tenants,
        experience: Experience = tuple,
        alive: Callable[[], None] | None = None,
        filing: Filing | None = None,
        open_circuits: Callable[[], Sequence[OpenCircuit]] = tuple,
        readiness: Readiness | None = None,
        unwritten_state: UnwrittenState | None = None,
        async_pool: AsyncPool | None = None,
        sessions: Database | None = None,
    ) -> None:
        self._database = database
        sessions = sessions or database
        self._experience = experience
        shares, of_async = Shares(threads, hung_runs.by_listener), None
        if async_pool is not None:
            of_async = Shares(async_pool.attempts, async_pool.hung_runs.by_listener)
        self._pools = Pools(shares, of_async, () if async_pool is None else async_pool.listeners)
        queue: Queue = SqliteQueue() if database.is_sqlite else PostgresqlQueue()
        owner: Owner = SqliteOwner(database) if database.is_sqlite else PostgresqlOwner(sessions, stalled_after)
        claiming = Claiming(queue, self._pools, find, tenants_of)
        readiness = readiness or Readiness()
        self._scribe = Scribe(
            queue,
            owner,
            claiming,
            self._pools,
            stalled_after=stalled_after,
            grace_period=grace_period,
            name=name,
            alive=alive,
            is_busy=self._is_filing,
            readiness=readiness,
            unwritten_state=unwritten_state,
        )
        readiness.on_change = self._scribe.wake
        readiness.start_counting()
        calls = most(threads), self._scribe.news.tell, self._scribe.may_begin, hung_runs, readiness
        self._lanes = Lanes(*calls) if async_pool is None else AsyncLanes(*calls, async_pool.hung_runs)
        self._filing = None if filing is None else FilingThread(filing, self._scribe.wake, lambda: bool(owner.shards))
        self._presence = Presence(database, threads, lambda: shares.in_use, open_circuits)
        self._notifications = None if database.is_sqlite else Notifications(sessions, self._channels())

    def _is_filing(self) -> bool:
        return self._filing is not None and self._filing.has_priority()

    def _channels(self) -> dict[str, Callable[[], None]]:
        channels = {CHANNEL: self._scribe.wake}
        return channels if self._filing is None else {**channels, INBOX_CHANNEL: self._filing.wake}

    def run(self) -> None:
        """Work until ``stop``, in any thread. The caller handles signals."""
        try:
            for listener, seconds, for_good in self._experience():
                self._pools.learn(listener, seconds, for_good=for_good)
        except StoreError as error:
            logger.debug("Cannot read earlier attempts of listeners: %s", error)
        self._lanes.open()
        self._presence.start()
        if self._notifications:
            self._notifications.start()
        if self._filing:
            self._filing.start()
        try:
            self._scribe.run(self._lanes)
        finally:
            if self._filing:
                self._filing.stop()
            if self._notifications:
                self._notifications.stop()
            self._lanes.close()
            self._presence.stop()
            self._database.dispose()

    def stop(self) -> None:
        """Begin no more attempts and make ``run`` return within the grace period; from any thread or signal handler."""
        self._scribe.stop()
