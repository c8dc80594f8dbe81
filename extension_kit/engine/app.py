"""Queue: adds one job for each delivery that has not ended, in the transaction that stores the delivery."""

# ruff: noqa: S608 (only constants are put into queries)

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from psycopg.conninfo import make_conninfo
from sqlalchemy import Connection, Select, column, except_, text

from extension_kit.deliveries.contracts import Job as Job
from extension_kit.engine import schema
from extension_kit.engine.times import from_microseconds, now, to_microseconds
from extension_kit.store.database import Database
from extension_kit.store.prepared import Statement

if TYPE_CHECKING:
    from extension_kit.engine.store import Store

QUEUE, TASK = "deliveries", "deliver"
"""Names of the queue and the task of every job."""

_BATCH = 1000

_DEFER_SQLITE = f"""
INSERT INTO procrastinate_jobs (queue_name, task_name, args, lock, scheduled_at, listener, deferred_at, waits_for)
SELECT '{QUEUE}', '{TASK}', json_object('delivery_ref', ref), lock, due, listener, :now,
    CASE WHEN due > :now THEN 'time' END
FROM (
    SELECT key, json_extract(value, '$[0]') AS ref, json_extract(value, '$[1]') AS lock,
        json_extract(value, '$[2]') AS due, json_extract(value, '$[3]') AS listener
    FROM json_each(:jobs)
) ORDER BY key
"""
_DEFER_POSTGRESQL = f"""
INSERT INTO procrastinate_jobs (queue_name, task_name, args, lock, scheduled_at, listener)
SELECT '{QUEUE}', '{TASK}', jsonb_build_object('delivery_ref', ref), lock, due, listener
FROM unnest(%s::bigint[], %s::text[], %s::timestamptz[], %s::text[])
    WITH ORDINALITY AS job (ref, lock, due, listener, place) ORDER BY place
"""

# Jobs in progress stay: their workers would continue them while other workers start the new ones.
_EMPTY_SQLITE = (f"DELETE FROM procrastinate_jobs WHERE queue_name = '{QUEUE}' AND status <> 'doing'",)
# With the trigger, the time would grow with the square of the rows. Disabling it locks the table, as intended.
_EMPTY_POSTGRESQL = (
    "SET LOCAL statement_timeout = 0",
    "ALTER TABLE procrastinate_jobs DISABLE TRIGGER extension_kit_jobs_deleted",
    *_EMPTY_SQLITE,
    "ALTER TABLE procrastinate_jobs ENABLE TRIGGER extension_kit_jobs_deleted",
)
_QUEUED_SQLITE = f"SELECT json_extract(args, '$.delivery_ref') FROM procrastinate_jobs WHERE queue_name = '{QUEUE}'"
_QUEUED_POSTGRESQL = f"SELECT (args ->> 'delivery_ref')::bigint FROM procrastinate_jobs WHERE queue_name = '{QUEUE}'"

_PUT_FORWARD_SQLITE = f"""
UPDATE procrastinate_jobs SET scheduled_at = due.at
FROM (SELECT json_extract(value, '$[0]') AS ref, json_extract(value, '$[1]') AS at FROM json_each(:dues)) AS due
WHERE queue_name = '{QUEUE}' AND status = 'todo' AND scheduled_at > due.at
AND json_extract(args, '$.delivery_ref') = due.ref
"""
_PUT_FORWARD_POSTGRESQL = f"""
UPDATE procrastinate_jobs SET scheduled_at = now() + make_interval(secs => due.seconds)
FROM unnest(%s::bigint[], %s::double precision[]) AS due (ref, seconds)
WHERE queue_name = '{QUEUE}' AND status = 'todo' AND scheduled_at > now() + make_interval(secs => due.seconds)
AND (args ->> 'delivery_ref')::bigint = due.ref
"""

_HELD = "SELECT 1 FROM procrastinate_jobs WHERE id = :job_id AND status = 'doing' AND worker_id = :worker_id"
_END_HELD = Statement(
    text("DELETE FROM procrastinate_jobs WHERE id = :job_id AND status = 'doing' AND worker_id = :worker_id")
)
_HELD_SQLITE, _HELD_POSTGRESQL = Statement(text(_HELD)), Statement(text(f"{_HELD} FOR UPDATE"))

_STATS = f"""
SELECT count(*) FILTER (WHERE status = 'todo'), count(*) FILTER (WHERE status = 'doing'), ({{since}})
FROM procrastinate_jobs WHERE queue_name = '{QUEUE}'
"""
_FIRST = f"FROM procrastinate_jobs WHERE status = 'todo' AND queue_name = '{QUEUE}' ORDER BY id LIMIT 1"
_STATS_SQLITE = _STATS.format(since=f"SELECT deferred_at {_FIRST}")
_STATS_POSTGRESQL = _STATS.format(
    since=f"SELECT at FROM procrastinate_events WHERE type = 'deferred' AND job_id = (SELECT id {_FIRST})"
)


@dataclass
class Held:
    """A job that a worker is doing; ``is_over`` once it has been removed from the queue, if that was committed."""

    job_id: int | None
    worker_id: int | None
    is_over: bool = False


class Stats(NamedTuple):
    """Number of waiting jobs, the time when the oldest was added, and number of jobs in progress."""

    waiting: int
    waiting_since: datetime | None
    doing: int


class Engine:
    """The queue of a database.

    Args:
        database: the database of the deliveries.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self._listeners: tuple[Callable[[], object], ...] = ()
        self._held = threading.local()

    def create_tables(self, connection: Connection) -> None:
        """Create missing tables, indexes and triggers of the queue, within the transaction of the connection."""
        schema.create_tables(connection)

    def defer(self, connection: Connection, jobs: Sequence[Job]) -> None:
        """Add jobs within the transaction of the connection.

        Args:
            connection: in a writing transaction.
            jobs: the jobs to add.
        """
        if not jobs:
            return
        # The driver's own connection is faster, and every event passes here.
        driver: Any = connection.connection.driver_connection
        if self.database.is_sqlite:
            rows = [(ref, lock, due and to_microseconds(due), listener) for ref, lock, due, listener in jobs]
            driver.execute(_DEFER_SQLITE, {"jobs": json.dumps(rows), "now": now()})
        else:
            driver.execute(_DEFER_POSTGRESQL, [list(column) for column in zip(*jobs, strict=True)])
        for tell in self._listeners:
            tell()

    def rebuild(self, connection: Connection, jobs: Iterable[Job]) -> int:
        """Replace the waiting jobs by these, except for deliveries with an attempt in progress.

        No other transaction can add jobs meanwhile. ``jobs`` must read the database lazily, while this consumes it:
        else a job added just before would be lost.

        Returns:
            The number of jobs added.
        """
        is_sqlite = self.database.is_sqlite
        for statement in _EMPTY_SQLITE if is_sqlite else _EMPTY_POSTGRESQL:
            connection.exec_driver_sql(statement)
        doing = set(connection.exec_driver_sql(_QUEUED_SQLITE if is_sqlite else _QUEUED_POSTGRESQL).scalars())
        wanted = (job for job in jobs if job[0] not in doing)
        added = 0
        while batch := list(islice(wanted, _BATCH)):
            self.defer(connection, batch)
            added += len(batch)
        return added

    def without_job(self, connection: Connection, wanted: Select[tuple[int]], limit: int) -> list[int]:
        """Return the first deliveries of a query that have no job, at most ``limit``.

        The time grows with the deliveries found and with the jobs: a second for a million of both.
        """
        queued = text(_QUEUED_SQLITE if self.database.is_sqlite else _QUEUED_POSTGRESQL).columns(column("ref"))
        return list(connection.execute(except_(wanted, queued).order_by("ref").limit(limit)).scalars())

    def keep_filled(self, connection: Connection) -> None:
        """Prevent other transactions from rebuilding the queue until the end of this writing transaction."""
        if not self.database.is_sqlite:
            connection.exec_driver_sql("LOCK TABLE procrastinate_jobs IN ROW EXCLUSIVE MODE")

    def put_forward(self, connection: Connection, waits: Mapping[int, float]) -> None:
        """Make waiting jobs due earlier, within the transaction of the connection; jobs due sooner are not changed.

        Args:
            connection: in a writing transaction.
            waits: seconds from now, by delivery ref.
        """
        driver: Any = connection.connection.driver_connection
        if self.database.is_sqlite:
            moment = now()
            dues = [(ref, moment + round(seconds * 1_000_000)) for ref, seconds in waits.items()]
            driver.execute(_PUT_FORWARD_SQLITE, {"dues": json.dumps(dues)})
        else:
            driver.execute(_PUT_FORWARD_POSTGRESQL, [list(waits), list(waits.values())])

    def stats(self) -> Stats:
        """Count the jobs.

        Raises:
            StoreError: the database cannot be used.
        """
        with self.database.read() as connection:
            query = _STATS_SQLITE if self.database.is_sqlite else _STATS_POSTGRESQL
            waiting, doing, since = connection.exec_driver_sql(query).one()
        return Stats(waiting, from_microseconds(since) if isinstance(since, int) else since, doing)

    @contextmanager
    def holding(self, held: Held) -> Iterator[None]:
        """Set the job of this thread, for ``is_held`` and ``end_held``."""
        self._held.job = held
        try:
            yield
        finally:
            del self._held.job

    def is_held(self, connection: Connection) -> bool:
        """Return True if this thread's job still belongs to its worker; then it does until the transaction ends.

        False if the worker was frozen after taking the job, and another worker has taken it over.
        """
        held: Held | None = getattr(self._held, "job", None)
        if held is None:
            return False
        query = _HELD_SQLITE if self.database.is_sqlite else _HELD_POSTGRESQL
        return query.first(connection, job_id=held.job_id, worker_id=held.worker_id) is not None

    def end_held(self, connection: Connection) -> None:
        """Remove this thread's job from the queue, if it still belongs to its worker.

        Called in the transaction that ends the delivery, which costs less than a transaction of its own.
        """
        held: Held | None = getattr(self._held, "job", None)
        if held is not None:
            held.is_over = _END_HELD.rowcount(connection, job_id=held.job_id, worker_id=held.worker_id) == 1

    def connector(self) -> "Store":
        """Return a new connector for a worker; the worker opens and closes it."""
        # Imported here because a process that only adds jobs needs nothing of procrastinate.
        if self.database.is_sqlite:
            from extension_kit.engine.sqlite_connector import SqliteConnector

            return SqliteConnector(self.database.path)
        from extension_kit.engine.postgresql_connector import PostgresqlConnector

        url = self.database.engine.url
        conninfo = make_conninfo(**url.get_dialect()().create_connect_args(url)[1])
        return PostgresqlConnector(conninfo, self.database.timeout)

    @contextmanager
    def telling(self, tell: Callable[[], object]) -> Iterator[None]:
        """Call ``tell`` whenever this process adds jobs, just before they are committed; from any thread."""
        self._listeners = (*self._listeners, tell)
        try:
            yield
        finally:
            self._listeners = tuple(other for other in self._listeners if other is not tell)
