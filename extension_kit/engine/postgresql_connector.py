"""PostgreSQL connector: procrastinate's connector, with the queries of the kit's job store."""

# ruff: noqa: S608 (only constants are put into queries)

import asyncio
import math
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, cast

from procrastinate import PsycopgConnector
from procrastinate.connector import Notify
from procrastinate.psycopg_connector import wrap_exceptions
from psycopg import AsyncConnection, sql
from psycopg.pq import TransactionStatus

from extension_kit.engine.app import QUEUE
from extension_kit.engine.store import JOB_INSERTED, Row, Turn
from extension_kit.store.postgresql import BoundedAsyncConnection

_MOST_CONNECTIONS = 3
_LISTEN_CHECK = 10.0  # seconds without a notification, after which the server is checked

# A job that still belongs to this worker. The row must be locked before the function is called.
_OWN = """
WITH own AS MATERIALIZED (
    SELECT id FROM procrastinate_jobs
    WHERE id = %(job_id)s AND status = 'doing' AND worker_id = %(worker_id)s FOR UPDATE
)
"""
# Without waiting for the disk: if a crash of the server undoes this, the job is done again, and finds that its delivery
# has ended, because the end of the delivery was flushed to the disk.
_FINISH = f"""
{_OWN}
SELECT procrastinate_finish_job_v1(id, %(status)s, %(delete_job)s), set_config('synchronous_commit', 'off', true)
FROM own
"""
# Procrastinate's triggers do not notify workers of retried jobs, so other workers would learn of them too late.
_NOTIFY = f"pg_notify('procrastinate_queue_v1#{QUEUE}', '{JOB_INSERTED}')"
# Seconds from now by the server's clock, which decides when a job is due and may differ from this machine's.
_RETRY = f"""
{_OWN}
SELECT procrastinate_retry_job_v2(
    id, now() + make_interval(secs => %(seconds)s), %(new_priority)s, %(new_queue_name)s, %(new_lock)s
), {_NOTIFY}
FROM own
"""
_FETCH = """
SELECT (job).*, wait
FROM extension_kit_fetch_job(%(queues)s::varchar[], %(worker_id)s, %(last)s, %(resting)s::text[])
"""
_READY = """
WITH RECURSIVE ready (listener) AS (
    (SELECT listener FROM procrastinate_jobs WHERE status = 'todo' AND waits_for IS NULL
        AND listener >= %(place)s::text COLLATE "C" ORDER BY listener, priority DESC, id LIMIT 1)
    UNION ALL
    SELECT (SELECT job.listener FROM procrastinate_jobs AS job WHERE status = 'todo' AND waits_for IS NULL
        AND job.listener > ready.listener ORDER BY job.listener, priority DESC, id LIMIT 1)
    FROM ready WHERE ready.listener IS NOT NULL
)
SELECT listener FROM ready WHERE listener IS NOT NULL LIMIT %(limit)s
"""
_DUE = """
UPDATE procrastinate_jobs SET waits_for = NULL WHERE id IN (
    SELECT id FROM procrastinate_jobs WHERE status = 'todo' AND waits_for = 'time' AND scheduled_at <= now()
    ORDER BY scheduled_at LIMIT 100 FOR UPDATE SKIP LOCKED
)
"""
_BRING_BACK = """
UPDATE procrastinate_jobs SET scheduled_at = now(), waits_for = NULL
WHERE status = 'todo' AND scheduled_at > now() AND id = ANY(%(job_ids)s)
"""
_BEAT = "UPDATE procrastinate_workers SET last_heartbeat = now() WHERE id = %(worker_id)s RETURNING id"
_FORGET = """
DELETE FROM procrastinate_workers
WHERE id = ANY(%(worker_ids)s) AND last_heartbeat < now() - make_interval(secs => %(seconds)s)
"""
_FORGET_IDLE = """
DELETE FROM procrastinate_workers AS worker WHERE last_heartbeat < now() - make_interval(secs => %(seconds)s)
AND NOT EXISTS (SELECT FROM procrastinate_jobs AS job WHERE job.worker_id = worker.id AND status = 'doing')
"""
_RESUME = f"""
WITH orphans AS MATERIALIZED (
    SELECT id FROM procrastinate_jobs
    WHERE status = 'doing' AND worker_id IS NULL AND queue_name = '{QUEUE}' FOR UPDATE SKIP LOCKED
)
SELECT procrastinate_retry_job_v2(id, now(), NULL, NULL, NULL), {_NOTIFY} FROM orphans
"""


class PostgresqlConnector(PsycopgConnector):
    """The PostgreSQL connector of one worker.

    Args:
        conninfo: libpq's connection string.
        timeout: seconds after which a server that does not answer counts as unavailable.
    """

    def __init__(self, conninfo: str, timeout: float = 5.0) -> None:
        super().__init__()
        self._connections = _Connections(conninfo, timeout)

    async def open_async(self, pool: Any = None) -> None:
        """Set the connections, which are opened at their first use."""
        await super().open_async(cast(Any, self._connections))

    async def close_async(self) -> None:
        """Close the connections."""
        await self._connections.close()

    async def listen_notify(self, on_notification: Notify, channels: Iterable[str]) -> None:
        """Pass on the server's notifications, until cancelled or until the server is unavailable."""
        async with wrap_exceptions(), await self._connections.connect(_LISTEN_CHECK) as connection:
            for channel in channels:
                await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
                await on_notification(channel=channel, payload=JOB_INSERTED)  # jobs may have been added before LISTEN
            while True:
                async for notification in connection.notifies(timeout=_LISTEN_CHECK):
                    await on_notification(channel=notification.channel, payload=notification.payload)
                await connection.execute("SELECT 1")

    def expect_jobs(self) -> None:
        """Do nothing: the server notifies workers when jobs are committed."""

    async def fetch_job(self, queues: Sequence[str] | None, worker_id: int, turn: Turn) -> Row:
        """Start the next job; if there is none, return the seconds until the next is due."""
        row: Row = await self.execute_query_one_async(
            _FETCH, queues=queues, worker_id=worker_id, last=turn.last, resting=list(turn.resting)
        )
        return row

    async def ready_listeners(self, place: str, limit: int) -> list[str]:
        """Return the listeners that may have a job to start, sorted, from ``place`` on, at most ``limit``."""
        await self.execute_query_async(_DUE)
        rows = await self.execute_query_all_async(_READY, place=place, limit=limit)
        return [row["listener"] for row in rows]

    async def finish_own_job(self, **arguments: Any) -> bool:
        """End a job if it still belongs to this worker; return True if it did."""
        return bool(await self.execute_query_all_async(_FINISH, **arguments))

    async def retry_own_job(self, **arguments: Any) -> bool:
        """Reschedule a job if it still belongs to this worker; return True if it did."""
        seconds = (arguments.pop("retry_at") - datetime.now(UTC)).total_seconds()
        return bool(await self.execute_query_all_async(_RETRY, seconds=seconds, **arguments))

    async def bring_back(self, job_ids: Sequence[int]) -> None:
        """Make postponed jobs due now."""
        await self.execute_query_async(_BRING_BACK, job_ids=list(job_ids))

    async def beat(self, worker_id: int) -> bool:
        """Record a worker's heartbeat; return False if the worker is not registered."""
        return bool(await self.execute_query_all_async(_BEAT, worker_id=worker_id))

    async def forget_idle(self, seconds: float) -> None:
        """Delete workers without jobs that have sent no heartbeat for ``seconds``."""
        await self.execute_query_async(_FORGET_IDLE, seconds=seconds)

    async def take_over(self, worker_ids: Sequence[int], seconds: float) -> int:
        """Delete dead workers and reschedule all jobs without a worker; return the number of jobs."""
        await self.execute_query_async(_FORGET, worker_ids=list(worker_ids), seconds=seconds)
        return len(await self.execute_query_all_async(_RESUME))


class _Connections:
    """At most three connections, with the interface of the pool that procrastinate expects.

    Errors are raised at once, so that the caller logs them and retries. A real pool would retry by itself, silently.
    """

    def __init__(self, conninfo: str, timeout: float) -> None:
        self._conninfo = conninfo
        self._timeout = timeout
        self._idle: list[AsyncConnection] = []
        self._free = asyncio.Semaphore(_MOST_CONNECTIONS)

    async def connect(self, silence: float = 0.0) -> AsyncConnection:
        """Open a connection to a server that counts as unavailable after ``silence`` seconds and the timeout."""
        connection = await BoundedAsyncConnection.connect(
            self._conninfo, autocommit=True, connect_timeout=math.ceil(self._timeout)
        )
        connection.patience = silence + self._timeout
        return connection

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection]:
        async with self._free:
            connection = self._idle.pop() if self._idle else await self.connect()
            try:
                yield connection
            finally:
                status = connection.info.transaction_status
                if status is TransactionStatus.IDLE:
                    self._idle.append(connection)
                else:  # broken, or with a cancelled query still running
                    await connection.close()
                if status is TransactionStatus.UNKNOWN:
                    await self.close()  # the others are broken, too

    async def close(self) -> None:
        while self._idle:
            await self._idle.pop().close()
