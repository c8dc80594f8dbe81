"""Rows of jobs: those that the events of a transaction change, read and locked together, and written together."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, func, select, update

from extension_kit.protocol import IsAnyOf, PreparedStatement, driver_time

from .bulk_writes import bulk_add, bulk_update
from .codes import Code
from .jobs import Job
from .payload import Posted
from .scheduler_rows import SchedulerRows
from .tables import UNKNOWN, jobs


class JobRow:
    """The row of a job.

    Attributes:
        ref: of the row; 0 until it is added.
        stored: the job as it is in the database; None until it is added.
        job: the job as it is to be.
    """

    __slots__ = ("job", "ref", "stored")

    def __init__(self, ref: int, stored: Job | None, job: Job) -> None:
        self.ref = ref
        self.stored = stored
        self.job = job


class JobRows:
    """The rows of the jobs of some events, locked until the commit.

    Args:
        connection: of a transaction. On PostgreSQL it has locked the ids, so that nobody else adds such jobs.
        schedulers: are seen when an event names them for a job that is new to them.
        job_ids: the ids of the jobs of the events.
        emptied: the schedulers that remove all their jobs. The jobs of both are locked in the order of their ``ref``.
    """

    def __init__(
        self, connection: Connection, schedulers: SchedulerRows, job_ids: Collection[str], emptied: Collection[str]
    ) -> None:
        self._connection = connection
        self._schedulers = schedulers
        self._by_id: dict[str, list[JobRow]] = {}
        self._new: list[JobRow] = []
        if emptied and connection.dialect.name == "postgresql":  # a transaction of SQLite has the only write lock
            theirs = jobs.c.scheduler.in_(emptied) & jobs.c.is_active
            locked = select(jobs.c.ref).where(theirs | jobs.c.job_id.in_(job_ids)).order_by(jobs.c.ref)
            connection.execute(select(func.count()).select_from(locked.with_for_update().subquery()))
        if job_ids:
            for ref, *values in _OF_IDS.all(connection, ids=list(job_ids)):
                job = Job(*values)
                self._by_id.setdefault(job.job_id, []).append(JobRow(ref, job, job))

    def find(self, posted: Posted, job_id: str, now: datetime) -> JobRow:
        """Return the row of the job of an event; a new one for an unknown job.

        A job is identified by its scheduler and its id. Many events do not name the scheduler: then it is the active
        job of that id seen last, or a job of an unknown scheduler, until an event names it. Other events of a job may
        arrive before the event that it was added.

        Args:
            posted: an event about a job.
            job_id: the id of the job.
            now: when the event arrived, aware.
        """
        found = self._by_id.get(job_id, [])
        if posted.scheduler is None:
            if found:
                return max(found, key=lambda row: (row.job.is_active, row.job.seen_at))
            return self._create(posted, job_id, now)
        for row in found:
            if row.job.scheduler == posted.scheduler:
                return row
        self._schedulers.see(posted.scheduler, now)
        for row in found:
            if row.job.scheduler == UNKNOWN:
                row.job = row.job._replace(scheduler=posted.scheduler)
                return row
        return self._create(posted, job_id, now)

    def _create(self, posted: Posted, job_id: str, now: datetime) -> JobRow:
        is_active = posted.code is not Code.JOB_REMOVED
        row = JobRow(0, None, Job(posted.scheduler or UNKNOWN, job_id, is_active, None, None, seen_at=now))
        self._by_id.setdefault(job_id, []).append(row)
        self._new.append(row)
        return row

    def remove_all(self, scheduler: str, at: datetime) -> None:
        """Record that a scheduler, one of those emptied, has removed all its jobs; jobs added later stay."""
        older = jobs.c.is_active_at.is_(None) | (jobs.c.is_active_at <= at)
        theirs = (jobs.c.scheduler == scheduler) & jobs.c.is_active & older
        self._connection.execute(update(jobs).where(theirs).values(is_active=False, is_active_at=at))
        for rows in self._by_id.values():
            for row in rows:
                if row.job.scheduler == scheduler:
                    row.job = row.job.without_scheduler_jobs(at)

    def add_new(self) -> None:
        """Add the rows of new jobs, so that others can refer to them."""
        if not self._new:
            return
        is_sqlite = self._connection.dialect.name == "sqlite"
        by_key = {(row.job.job_id, row.job.scheduler): row for row in self._new}
        for ref, *key in _ADD.execute(self._connection, [_values(row.job, is_sqlite=is_sqlite) for row in self._new]):
            row = by_key[tuple(key)]
            row.ref, row.stored = ref, row.job
        self._new = []

    def write(self) -> None:
        """Write the jobs that have changed."""
        write_jobs(self._connection, [row for rows in self._by_id.values() for row in rows])


def lock_row(connection: Connection, ref: int) -> JobRow | None:
    """Return the row of a job, locked until the commit, or None if the job was removed."""
    if (found := _OF_REF.first(connection, ref=ref)) is None:
        return None
    job = Job(*found[1:])
    return JobRow(ref, job, job)


def write_jobs(connection: Connection, rows: Collection[JobRow]) -> None:
    """Write the jobs of locked rows that have changed."""
    is_sqlite = connection.dialect.name == "sqlite"
    running, changed = [], []
    for row in rows:
        if row.stored is None or row.job == row.stored:
            continue
        ref, values = row.ref, _values(row.job, is_sqlite=is_sqlite)
        if row.job[:_SELDOM] == row.stored[:_SELDOM]:
            running.append((ref, *values[_SELDOM:]))
        else:
            changed.append((ref, *values))
    if running:
        _RUN.execute(connection, running)
    if changed:
        _UPDATE.execute(connection, changed)


def _values(job: Job, *, is_sqlite: bool) -> tuple[Any, ...]:
    return tuple(driver_time(value, is_sqlite=is_sqlite) if isinstance(value, datetime) else value for value in job)


_TYPES = {
    "scheduler": "text",
    "job_id": "text",
    "is_active": "boolean",
    "task": "text",
    "is_active_at": "timestamptz",
    "seen_at": "timestamptz",
    "next_run": "timestamptz",
    "next_run_at": "timestamptz",
    "last_code": "integer",
    "last_at": "timestamptz",
    "running_since": "timestamptz",
    "usual_seconds": "double precision",
    "lost_since": "timestamptz",
}
"""The columns of ``Job``, in its order, with their types in PostgreSQL."""

_SELDOM = Job._fields.index("seen_at")
"""The number of columns that no event about a run changes: the first ones."""

_COLUMNS = (jobs.c.ref, *(jobs.c[name] for name in _TYPES))
_OF_IDS = PreparedStatement(
    select(*_COLUMNS).where(IsAnyOf(jobs.c.job_id, "ids")).order_by(jobs.c.ref).with_for_update()
)
_OF_REF = PreparedStatement(select(*_COLUMNS).where(jobs.c.ref == bindparam("ref")).with_for_update())
_ADD = bulk_add(jobs.name, _TYPES, "RETURNING ref, job_id, scheduler")
_UPDATE = bulk_update(jobs.name, _TYPES)
_RUN = bulk_update(jobs.name, dict(list(_TYPES.items())[_SELDOM:]))
