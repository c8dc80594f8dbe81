"""Worker connector: sits between procrastinate's worker and the job store, retries outages, shares out threads."""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from procrastinate import sql
from procrastinate.connector import BaseAsyncConnector, Notify
from procrastinate.exceptions import ConnectorException, UniqueViolation

from extension_kit.engine.delays import Delays
from extension_kit.engine.outages import Outages
from extension_kit.engine.shares import Outlook, Shares
from extension_kit.engine.store import JOB_INSERTED, QUERIES, Row, Store, Turn
from extension_kit.errors import StoreError

logger = logging.getLogger("extension_kit.engine")

_MOST_LISTENERS = 1000  # considered at a time for the next job; the others follow in later rounds

Experience = Callable[[], Iterable[tuple[str, float, bool]]]
"""Returns earlier attempts: listener, seconds, and True if the attempt ended its delivery."""

TenantsOf = Callable[[Sequence[str]], Mapping[str, str]]
"""Returns the tenant of each listener, by name; ``""`` for listeners without a tenant."""


def nobodys(listeners: Sequence[str]) -> Mapping[str, str]:
    """Return no tenant, ``""``, for every listener."""
    return dict.fromkeys(listeners, "")


class WorkerConnector(BaseAsyncConnector):
    """Connects one worker with the job store.

    Args:
        store: the job store.
        outages: retries queries while the database is unavailable.
        threads: the number of jobs that may be done at the same time.
        abandoned: returns the number of threads that each listener keeps busy with attempts past their timeout.
        is_stopping: returns True if no more jobs may begin.
        is_over: returns True if a job has already been removed from the queue.
        tenants_of: returns the tenants of listeners; called in a thread, once for each listener.
        experience: returns earlier attempts, at the start; called in a thread.
    """

    def __init__(
        self,
        store: Store,
        outages: Outages,
        threads: int,
        abandoned: Callable[[], Counter[str]] = Counter,
        is_stopping: Callable[[], bool] = lambda: False,
        is_over: Callable[[int], bool] = lambda job_id: False,
        tenants_of: TenantsOf = nobodys,
        experience: Experience = tuple,
    ) -> None:
        self._store = store
        self._outages = outages
        self._is_stopping = is_stopping
        self._is_over = is_over
        self._worker_id = 0
        self._own = Shares(threads, abandoned)
        self._tenants_of = tenants_of
        self._experience = experience
        self._delays = Delays()
        self._place = ""
        self._failures_checked = 0
        self._news = asyncio.Event()
        self._heard = False
        self._alarm: asyncio.TimerHandle | None = None
        self.disowned = asyncio.Event()
        """Set when other workers have declared this one dead, and so may have taken over its jobs."""

    @property
    def has_jobs(self) -> bool:
        """True if jobs are in progress."""
        return bool(self._own)

    async def open_async(self, pool: Any = None) -> None:
        """Connect."""
        await self._outages.outlast(self._store.open_async)
        try:
            for listener, seconds, for_good in await asyncio.to_thread(self._experience):
                self._own.learn(listener, seconds, for_good=for_good)
        except StoreError as error:
            logger.debug("Cannot read earlier attempts of listeners: %s", error)

    async def close_async(self) -> None:
        """Disconnect."""
        await self._store.close_async()

    async def execute_query_async(self, query: Any, **arguments: Any) -> None:
        """Execute one of procrastinate's queries."""
        match QUERIES[query]:
            case "finish_job":
                await self._end_job(self._store.finish_own_job, for_good=True, **arguments)
            case "retry_job":
                await self._end_job(self._store.retry_own_job, for_good=False, **arguments)
            case "update_heartbeat":
                if not await self._outages.outlast(lambda: self._store.beat(**arguments)):
                    self.disowned.set()
            case _:
                await self._outages.outlast(lambda: self._store.execute_query_async(query, **arguments))

    async def execute_query_one_async(self, query: Any, **arguments: Any) -> Row:
        """Execute one of procrastinate's queries and return its first row."""
        match QUERIES[query]:
            case "fetch_job":
                return await self._fetch_job(**arguments)
            case "register_worker":
                row = await self._outages.outlast(lambda: self._store.execute_query_one_async(query))
                self._worker_id = row["worker_id"]
                return row
            case _:
                return await self._outages.outlast(lambda: self._store.execute_query_one_async(query, **arguments))

    async def execute_query_all_async(self, query: Any, **arguments: Any) -> list[Row]:
        """Execute one of procrastinate's queries and return its rows."""
        if QUERIES[query] == "prune_stalled_workers":
            # Procrastinate does this once, when a worker starts, and would also remove workers with jobs. After a clock
            # change or a suspended machine such a worker may be alive, so the reaper decides about it.
            await self._outages.outlast(lambda: self._store.forget_idle(arguments["seconds_since_heartbeat"]))
            return []
        return await self._outages.outlast(lambda: self._store.execute_query_all_async(query, **arguments))

    async def listen_notify(self, on_notification: Notify, channels: Iterable[str]) -> None:
        """Report jobs added or changed by other processes, and calls of ``wake``."""

        async def hear(*, channel: str, payload: str) -> None:
            self.wake()

        channel = next(iter(channels))

        async def listen() -> None:
            # Fails only when the worker ends while the database is unavailable, which is logged elsewhere.
            with suppress(ConnectorException, TimeoutError):
                await self._outages.outlast(lambda: self._store.listen_notify(hear, [channel]), timeout=None)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(listen())
            while True:
                await self._news.wait()
                self._news.clear()
                await on_notification(channel=channel, payload=JOB_INSERTED)

    def wake(self) -> None:
        """Have the worker look for a job now."""
        self._heard = True
        self._news.set()

    async def _fetch_job(self, **arguments: Any) -> Row:
        if self._alarm is not None:
            self._alarm.cancel()
        if overdue := self._delays.overdue():
            await self._outages.outlast(lambda: self._store.bring_back(overdue))
            logger.warning("The clock was set back: %d due deliveries rescheduled", len(overdue))
        while True:
            # The worker ignores notifications while it fetches a job, so this loop fetches again.
            self._heard = False
            if self._is_stopping():
                return {"id": None}
            row = await self._outages.outlast(lambda: self._next_job(**arguments))
            if row["id"] is not None:
                await self._introduce([row["listener"]])
                self._own.begin(row["id"], row["listener"])
                return row
            if row["wait"] is not None and row["wait"] <= 0:
                await asyncio.sleep(0)  # more jobs to check, after other tasks of the loop
            elif not self._heard:
                break
        # When an attempt becomes slow, a new listener may begin in its place.
        possible = (row["wait"], self._own.look().becomes_slow, self._delays.wait)
        waits = [wait for wait in possible if wait is not None]
        if waits:
            self._alarm = asyncio.get_running_loop().call_later(min(waits), self.wake)
        return row

    async def _next_job(self, **arguments: Any) -> Row:
        failures = self._outages.failures
        if failures != self._failures_checked:
            # An outage may have hidden the start of a job, or undone its end: the job would stay in progress for ever.
            nothing = dict.fromkeys(("id", "queue_name", "task_name", "lock", "queueing_lock"))
            mine = {**nothing, "status": "doing", "worker_id": self._worker_id}
            for row in await self._store.execute_query_all_async(sql.queries["list_jobs"], **mine):
                if row["id"] not in self._own:
                    return {**row, "listener": ""}  # counts in no listener's share
            self._failures_checked = failures
        outlook = self._own.look()
        choose = self._choose if outlook.is_full or self._own.has_tenants else self._take_next
        try:
            return await choose(outlook, arguments)
        except UniqueViolation:  # another worker has started a job of the same lock
            return {"id": None, "wait": 0}

    async def _take_next(self, outlook: Outlook, arguments: Mapping[str, Any]) -> Row:
        """Start the next job of the next listener; the quick way, when all listeners to skip are known."""
        resting = outlook.resting
        row = await self._store.fetch_job(**arguments, turn=Turn(self._own.last, resting))
        borrowing = frozenset(filter(outlook.may_borrow, resting))
        if row["id"] is not None or row["wait"] == 0 or not borrowing:
            return row
        return await self._store.fetch_job(**arguments, turn=Turn(self._own.last, resting - borrowing))

    async def _choose(self, outlook: Outlook, arguments: Mapping[str, Any]) -> Row:
        """Start the next job, choosing among all listeners that may have one: tenants in turn, then listeners."""
        ready = await self._store.ready_listeners(self._place, _MOST_LISTENERS)
        self._place = Turn.after(ready[-1]) if len(ready) == _MOST_LISTENERS else ""
        await self._introduce(ready)
        in_turn, all_of_them = list(self._own.in_turn(ready)), frozenset(ready)
        for listener in (*filter(outlook.may_begin, in_turn), *filter(outlook.may_borrow, in_turn)):
            row = await self._store.fetch_job(**arguments, turn=Turn.of(listener, all_of_them))
            if row["id"] is not None or row["wait"] == 0:
                return row
        return await self._store.fetch_job(**arguments, turn=Turn(resting=all_of_them | outlook.resting))

    async def _introduce(self, listeners: Sequence[str]) -> None:
        """Look up the tenants of new listeners."""
        if strangers := self._own.strangers(listeners):
            try:
                self._own.introduce(await asyncio.to_thread(self._tenants_of, strangers))
            except StoreError as error:
                logger.debug("Cannot read the tenants of listeners: %s", error)

    async def _end_job(self, end: Callable[..., Awaitable[bool]], *, for_good: bool, **arguments: Any) -> None:
        try:
            own = self._is_over(arguments["job_id"]) or await self._outages.outlast(
                lambda: end(**arguments, worker_id=self._worker_id)
            )
        except (ConnectorException, TimeoutError):  # the worker ends without the database, which is logged elsewhere
            return
        self._own.end(arguments["job_id"], for_good=for_good)
        if not for_good:
            self._delays.add(arguments["job_id"], arguments["retry_at"])
        if not own:
            logger.warning("Job %d belongs to another worker by now, left unchanged", arguments["job_id"])
        self.wake()
