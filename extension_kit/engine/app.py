"""The queue: one job for each delivery that has not ended, in the database where the deliveries are."""

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
"""Every job is one of this queue and task."""

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

# Not those that are being done: their workers would go on with them, beside others who have found the new ones.
_EMPTY_SQLITE = (f"DELETE FROM procrastinate_jobs WHERE queue_name = '{QUEUE}' AND status <> 'doing'",)
# To disable a trigger locks the table, as it should be. With it, the time would grow with the square of the rows.
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
    """A job that a worker is doing; ``is_over`` once it has been taken off the queue, if that was committed."""

    job_id: int | None
    worker_id: int | None
    is_over: bool = False


class Stats(NamedTuple):
    """How many jobs wait, since when the first of them is there, and how many are being done."""

    waiting: int
    waiting_since: datetime | None
    doing: int


class Engine:
    """The queue of a database.

    Args:
        database: where deliveries are.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self._listeners: tuple[Callable[[], object], ...] = ()
        self._held = threading.local()

    def create_tables(self, connection: Connection) -> None:
        """Create what is missing of the queue's tables, within the transaction of the connection."""
        schema.create_tables(connection)

    def defer(self, connection: Connection, jobs: Sequence[Job]) -> None:
        """Add jobs within the transaction of the connection, so that they are there when it is committed.

        Args:
            connection: in a transaction that writes.
            jobs: what to add.
        """
        if not jobs:
            return
        # The driver's own connection, because this is on the way of every event.
        driver: Any = connection.connection.driver_connection
        if self.database.is_sqlite:
            rows = [(ref, lock, due and to_microseconds(due), listener) for ref, lock, due, listener in jobs]
            driver.execute(_DEFER_SQLITE, {"jobs": json.dumps(rows), "now": now()})
        else:
            driver.execute(_DEFER_POSTGRESQL, [list(column) for column in zip(*jobs, strict=True)])
        for tell in self._listeners:
            tell()

    def rebuild(self, connection: Connection, jobs: Iterable[Job]) -> int:
        """Throw away the jobs that wait, and add these, but for deliveries of which an attempt is being made.

        Nobody can add jobs meanwhile. For none to be thrown away that was added just before, ``jobs`` has to be read
        from the database while this takes it in.

        Returns:
            How many were added.
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
        """Return those of the deliveries that a query finds for which there is no job: the first, so many at most.

        The time it takes grows with the deliveries that are found and with the jobs: a second for a million of both.
        """
        queued = text(_QUEUED_SQLITE if self.database.is_sqlite else _QUEUED_POSTGRESQL).columns(column("ref"))
        return list(connection.execute(except_(wanted, queued).order_by("ref").limit(limit)).scalars())

    def keep_filled(self, connection: Connection) -> None:
        """Keep others from filling the queue anew until the end of a transaction that writes."""
        if not self.database.is_sqlite:
            connection.exec_driver_sql("LOCK TABLE procrastinate_jobs IN ROW EXCLUSIVE MODE")

    def put_forward(self, connection: Connection, waits: Mapping[int, float]) -> None:
        """Have jobs that wait begin in so many seconds, by the numbers of their deliveries, unless they are due before.

        Within the transaction of the connection.
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
        """Let ``is_held`` know which job this thread does."""
        self._held.job = held
        try:
            yield
        finally:
            del self._held.job

    def is_held(self, connection: Connection) -> bool:
        """Whether the job that this thread does is still its worker's, which it then is until the transaction ends.

        A worker that was frozen, just when it had taken a job, finds here that others do it by now.
        """
        held: Held | None = getattr(self._held, "job", None)
        if held is None:
            return False
        query = _HELD_SQLITE if self.database.is_sqlite else _HELD_POSTGRESQL
        return query.first(connection, job_id=held.job_id, worker_id=held.worker_id) is not None

    def end_held(self, connection: Connection) -> None:
        """Take the job that this thread does off the queue, if it is still its worker's.

        In the transaction that ends the delivery, it costs less than in one of its own.
        """
        held: Held | None = getattr(self._held, "job", None)
        if held is not None:
            held.is_over = _END_HELD.rowcount(connection, job_id=held.job_id, worker_id=held.worker_id) == 1

    def connector(self) -> "Store":
        """Make the connector of a worker, which opens and closes it."""
        # Imported here because whoever only adds jobs needs nothing of procrastinate.
        if self.database.is_sqlite:
            from extension_kit.engine.sqlite_connector import SqliteConnector

            return SqliteConnector(self.database.path)
        from extension_kit.engine.postgresql_connector import PostgresqlConnector

        url = self.database.engine.url
        conninfo = make_conninfo(**url.get_dialect()().create_connect_args(url)[1])
        return PostgresqlConnector(conninfo, self.database.timeout)

    @contextmanager
    def telling(self, tell: Callable[[], object]) -> Iterator[None]:
        """Call ``tell`` whenever this process adds jobs, a moment before it commits them; from any thread."""
        self._listeners = (*self._listeners, tell)
        try:
            yield
        finally:
            self._listeners = tuple(other for other in self._listeners if other is not tell)
