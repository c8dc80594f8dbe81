"""Jobs: find the job of an event, and apply the event to it, in any order of arrival.

Each value of a job is kept with the time of the event that set it, and an earlier event does not change it. For an
event without a time, the time of its arrival counts.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, bindparam, insert, select, text, update

from extension_kit.protocol import insert_or_ignore

from .codes import EXECUTION, Code
from .payload import Posted
from .tables import ACTIVE, UNKNOWN, jobs, schedulers

# Of events at the same time: a job ends after it was submitted.
_RANKS = {Code.JOB_SUBMITTED: 0, Code.JOB_MAX_INSTANCES: 1}
_LAST_RANK = 2

# Made once: they are executed for every event, and making a statement takes longer than executing it. PostgreSQL's
# advisory locks are kept apart from those of other users.
_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended('croneye ' || :job_id, 0))")
_OF_ID = select(jobs).where(jobs.c.job_id == bindparam("job_id")).order_by(jobs.c.ref).with_for_update()
# Never both: the job of an unknown scheduler is given to the first scheduler that names it.
_OF_SCHEDULER = _OF_ID.where((jobs.c.scheduler == bindparam("scheduler")) | (jobs.c.scheduler == UNKNOWN))
_OF_REF = select(jobs).where(jobs.c.ref == bindparam("ref")).with_for_update()
_INSERT = insert(jobs).returning(*jobs.c)
_UPDATE = update(jobs).where(jobs.c.ref == bindparam("changed_ref"))
_CLAIM = _UPDATE.returning(*jobs.c)


def lock_job(connection: Connection, posted: Posted, now: datetime) -> Row[Any]:
    """Return the job of an event, locked until the commit. It is created if it is missing.

    A job is identified by its scheduler and its id. Many events do not name the scheduler: then it is the active job of
    that id seen last, or a job of an unknown scheduler, until an event names it. Other events of a job may arrive
    before the event that it was added.

    Args:
        connection: of a transaction.
        posted: an event about a job.
        now: the current time, aware.
    """
    if connection.dialect.name == "postgresql":  # a transaction of SQLite has the only write lock
        connection.execute(_LOCK, {"job_id": posted.job_id})
    ours = {"job_id": posted.job_id, "scheduler": posted.scheduler}
    found = connection.execute(_OF_ID if posted.scheduler is None else _OF_SCHEDULER, ours).all()
    if posted.scheduler is None:
        return max(found, key=lambda job: (job.is_active, job.seen_at)) if found else _create(connection, posted, now)
    if found and found[0].scheduler == posted.scheduler:
        return found[0]
    seen = {"name": posted.scheduler, "status": ACTIVE, "seen_at": now}  # its jobs send events, so it is active
    insert_or_ignore(connection, schedulers, seen)
    if not found:
        return _create(connection, posted, now)
    return connection.execute(_CLAIM, {"changed_ref": found[0].ref, "scheduler": posted.scheduler}).one()


def lock_row(connection: Connection, job_ref: int) -> Row[Any] | None:
    """Return a job, locked until the commit, or None if it was removed."""
    return connection.execute(_OF_REF, {"ref": job_ref}).one_or_none()


def _create(connection: Connection, posted: Posted, now: datetime) -> Row[Any]:
    values = {
        "scheduler": posted.scheduler or UNKNOWN,
        "job_id": posted.job_id,
        "is_active": posted.code is not Code.JOB_REMOVED,
        "seen_at": now,
    }
    return connection.execute(_INSERT, values).one()


def changes(job: Row[Any], posted: Posted, now: datetime) -> dict[str, Any]:
    """Return the changes of a job by an event: the new values, by column."""
    at = posted.time or now
    changed: dict[str, Any] = {"seen_at": now}
    if posted.code in (Code.JOB_ADDED, Code.JOB_REMOVED) and not _is_older(at, job.is_active_at):
        changed |= {"is_active": posted.code is Code.JOB_ADDED, "is_active_at": at}
        if posted.code is Code.JOB_ADDED:
            changed["task"] = posted.task
    if job.task is None and posted.task is not None:
        changed["task"] = posted.task
    if posted.code in EXECUTION and not _is_before(posted.code, at, job):
        changed |= {"last_code": posted.code, "last_at": at}
    # The event of an added job may be late: without a time it does not overwrite values of a submission.
    is_vague = posted.code is Code.JOB_ADDED and posted.time is None and job.next_run_at is not None
    if posted.says_next_run and not is_vague and not _is_older(at, job.next_run_at):
        changed |= {"next_run": posted.next_run, "next_run_at": at}
    return changed


def _is_older(at: datetime, known: datetime | None) -> bool:
    return known is not None and at < known


def _is_before(code: Code, at: datetime, job: Row[Any]) -> bool:
    return job.last_at is not None and (at, _rank(code)) < (job.last_at, _rank(Code(job.last_code)))


def _rank(code: Code) -> int:
    return _RANKS.get(code, _LAST_RANK)


def change(connection: Connection, job_ref: int, changed: dict[str, Any]) -> None:
    """Update a job."""
    connection.execute(_UPDATE, {"changed_ref": job_ref, **changed})


def remove_all(connection: Connection, scheduler: str, at: datetime) -> None:
    """Record that a scheduler has removed all its jobs; jobs added later stay."""
    older = jobs.c.is_active_at.is_(None) | (jobs.c.is_active_at <= at)
    theirs = (jobs.c.scheduler == scheduler) & jobs.c.is_active & older
    locked = select(jobs.c.ref).where(theirs).order_by(jobs.c.ref).with_for_update()
    connection.execute(update(jobs).where(jobs.c.ref.in_(locked)).values(is_active=False, is_active_at=at))
