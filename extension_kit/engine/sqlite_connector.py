"""SQLite connector: procrastinate's connector for a file."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

from procrastinate.connector import BaseAsyncConnector, BaseConnector, Notify
from procrastinate.exceptions import AppNotOpen, ConnectorException, NoResult

from extension_kit.engine.sqlite_jobs import Busy, SqliteJobs
from extension_kit.engine.store import JOB_INSERTED, QUERIES, Row, Turn
from extension_kit.store import sqlite

T = TypeVar("T")

# Seconds between checks for commits of other connections: when this process adds jobs, after such a commit, and after
# some seconds without one. A check costs about 0.1 ms, most of it for waking up.
_EXPECTING, _AFTER_NEWS, _LONGEST = 0.001, 0.005, 0.020


class SqliteConnector(BaseAsyncConnector):
    """The SQLite connector of one worker.

    A query takes some microseconds and is executed at once. If another connection holds the write lock for longer than
    a moment, the query is executed in a thread, so that the event loop does not wait.

    Args:
        path: the database file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sqlite-queue")
        self._in_thread: set[Future[Any]] = set()
        self._opened: SqliteJobs | None = None
        self._pause = _AFTER_NEWS
        self._nap: asyncio.Future[None] | None = None

    def get_sync_connector(self) -> BaseConnector:
        """Return itself: procrastinate derives the synchronous methods from the asynchronous ones."""
        return self

    async def open_async(self, pool: Any = None) -> None:
        """Open the file.

        Raises:
            ConnectorException: the file does not exist, or cannot be used.
        """
        self._opened = await self._ask_in_thread(_open, self._path)

    async def close_async(self) -> None:
        """Close the file."""
        if self._opened is not None:
            await self._ask_in_thread(self._opened.close)
        self._thread.shutdown(wait=False)

    async def execute_query_async(self, query: Any, **arguments: Any) -> None:
        """Execute one of procrastinate's queries."""
        await self.execute_query_all_async(query, **arguments)

    async def execute_query_one_async(self, query: Any, **arguments: Any) -> Row:
        """Execute one of procrastinate's queries and return its first row."""
        rows = await self.execute_query_all_async(query, **arguments)
        if not rows:
            raise NoResult
        return rows[0]

    async def execute_query_all_async(self, query: Any, **arguments: Any) -> list[Row]:
        """Execute one of procrastinate's queries and return its rows."""
        return await self._ask(SqliteJobs.execute, QUERIES[query], **arguments)

    async def fetch_job(self, queues: Sequence[str] | None, worker_id: int, turn: Turn) -> Row:
        """Start the next job; if there is none, return the seconds until the next is due."""
        return await self._ask(SqliteJobs.fetch_job, queues, worker_id, turn)

    async def ready_listeners(self, place: str, limit: int) -> list[str]:
        """Return the listeners that may have a job to start, sorted, from ``place`` on, at most ``limit``."""
        return await self._ask(SqliteJobs.ready_listeners, place, limit)

    async def finish_own_job(self, **arguments: Any) -> bool:
        """End a job if it still belongs to this worker; return True if it did."""
        return await self._ask(SqliteJobs.finish_own_job, **arguments)

    async def retry_own_job(self, **arguments: Any) -> bool:
        """Reschedule a job if it still belongs to this worker; return True if it did."""
        return await self._ask(SqliteJobs.retry_own_job, **arguments)

    async def bring_back(self, job_ids: Sequence[int]) -> None:
        """Make postponed jobs due now."""
        await self._ask(SqliteJobs.bring_back, job_ids)

    async def beat(self, worker_id: int) -> bool:
        """Record a worker's heartbeat; return False if the worker is not registered."""
        return bool(await self._ask(SqliteJobs.execute, "update_heartbeat", worker_id=worker_id))

    async def forget_idle(self, seconds: float) -> None:
        """Delete workers without jobs that have sent no heartbeat for ``seconds``."""
        await self._ask(SqliteJobs.forget_idle, seconds)

    async def take_over(self, worker_ids: Sequence[int], seconds: float) -> int:
        """Delete dead workers and reschedule all jobs without a worker; return the number of jobs."""
        return await self._ask(SqliteJobs.take_over, worker_ids, seconds)

    async def listen_notify(self, on_notification: Notify, channels: Iterable[str]) -> None:
        """Report commits of other connections within 20 ms, until cancelled.

        SQLite has no notifications, but reading ``data_version`` takes only some microseconds.
        """
        try:
            with closing(sqlite3.connect(f"{self._path.as_uri()}?mode=ro", uri=True)) as reader:
                seen = None
                while True:
                    version = reader.execute("PRAGMA data_version").fetchone()
                    if version != seen:
                        seen, self._pause = version, _AFTER_NEWS
                        for channel in channels:
                            await on_notification(channel=channel, payload=JOB_INSERTED)
                    await self._sleep()
        except sqlite3.Error as error:
            raise ConnectorException from error

    def expect_jobs(self) -> None:
        """Check more often for a moment, because this process is adding jobs."""
        self._pause = _EXPECTING
        self._wake()

    async def _sleep(self) -> None:
        loop = asyncio.get_running_loop()
        self._nap = loop.create_future()
        alarm = loop.call_later(self._pause, self._wake)
        self._pause = min(self._pause * (1.3 if self._pause < _AFTER_NEWS else 1.01), _LONGEST)
        try:
            await self._nap
        finally:
            alarm.cancel()

    def _wake(self) -> None:
        if self._nap is not None and not self._nap.done():
            self._nap.set_result(None)

    async def _ask(self, question: Callable[..., T], *arguments: Any, **more: Any) -> T:
        if self._opened is None:
            raise AppNotOpen
        if not self._in_thread:
            try:
                return question(self._opened, *arguments, **more)
            except Busy:
                pass
            except sqlite3.Error as error:
                raise ConnectorException from error
        return await self._ask_in_thread(self._opened.patiently, question, *arguments, **more)

    async def _ask_in_thread(self, function: Callable[..., T], *arguments: Any, **more: Any) -> T:
        future = self._thread.submit(function, *arguments, **more)
        # Until the call has really ended, which may be long after its caller was cancelled.
        self._in_thread.add(future)
        future.add_done_callback(self._in_thread.discard)
        try:
            return await asyncio.wrap_future(future)
        except sqlite3.Error as error:
            raise ConnectorException from error


def _open(path: Path) -> SqliteJobs:
    # Without flush: a power failure can only undo ends of jobs, and then these jobs are done again.
    return SqliteJobs(sqlite.connect(path, flush=False), sqlite.turn(path))
