"""Records a posted event in the tables and publishes it to listeners, in one transaction."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, update

from extension_kit.protocol import Transaction, insert_or_ignore, upsert

from . import runs
from .codes import EXECUTION, SCHEDULER, Code
from .events import CronEyeEvent, event_id, posted_event
from .jobs import change, changes, lock_job, remove_all
from .lost import lost_from, record_blocking_run, usual_seconds
from .payload import Posted, text
from .tables import ACTIVE, LATER, PAUSED, SHUTDOWN, UNKNOWN, log, schedulers

_STATUSES = {
    Code.SCHEDULER_STARTED: ACTIVE,
    Code.SCHEDULER_RESUMED: ACTIVE,
    Code.SCHEDULER_PAUSED: PAUSED,
    Code.SCHEDULER_SHUTDOWN: SHUTDOWN,
}

LONGEST_TEXT = 65_536
"""Characters of a return value, an exception or a traceback in the log; listeners get the whole text."""

_CUT = " [...] "


def record(transaction: Transaction, posted: Posted, body: bytes, now: datetime, shortest: timedelta) -> None:
    """Record an event and its effects, and publish it. A repeated event changes nothing.

    All transactions lock in the same order, so that they cannot deadlock: a job by its id, its row, then the rows of
    the kit. An event about a scheduler and all its jobs locks the scheduler first, and no job by its id. Several rows
    of jobs are locked in the order of their ``ref``.

    Args:
        transaction: the caller commits it before it answers.
        posted: the event.
        body: the body of the event, as it was sent.
        now: the current time, aware.
        shortest: the minimum duration of a lost run.
    """
    connection = transaction.connection
    id = event_id(posted, body)
    scheduler, task, duration = posted.scheduler, None, None
    lost: list[CronEyeEvent] = []
    if posted.job_id is not None:
        job = lock_job(connection, posted, now)
        scheduler = job.scheduler if job.scheduler != UNKNOWN else None
        if (entry := _log(connection, posted, id, job.ref, now)) is None:
            return
        changed = changes(job, posted, now)
        if posted.code in EXECUTION and posted.code is not Code.JOB_MAX_INSTANCES:
            mark = _mark(posted, entry, now)
            from_then_on = lost_from(job.usual_seconds, max(mark.at, now), shortest)
            run = runs.pair_with(connection, job.ref, mark, posted.due, from_then_on)
            if run.end is not None and run.end.log == entry:
                duration = run.duration
                changed["usual_seconds"] = usual_seconds(job.usual_seconds, run)
            changed |= runs.state(runs.newest(connection, job.ref))
        change(connection, job.ref, changed)
        if posted.code is Code.JOB_MAX_INSTANCES:
            lost = record_blocking_run(connection, job, posted.time or now, now)
        task = changed.get("task", job.task)
    else:
        if _log(connection, posted, id, None, now) is None:
            return
        if posted.scheduler is not None and (posted.code in SCHEDULER or posted.code is Code.ALL_JOBS_REMOVED):
            _record_scheduler(connection, posted, now)
    transaction.publish(posted_event(posted, id, scheduler=scheduler, task=task, duration=duration), *lost)


def _log(connection: Connection, posted: Posted, id: str, job_ref: int | None, now: datetime) -> int | None:
    """Add an event to the log, and return the ref of its entry; None if it is there already."""
    entry = {
        "event_id": id,
        "code": posted.code,
        "scheduler": posted.scheduler or UNKNOWN,
        "job_ref": job_ref,
        "time": posted.time,
        "sort_at": posted.time or LATER,
        "received_at": now,
        "next_run": posted.next_run,
        "return_value": _shortened(posted.payload.get("return_value")),
        "exception": _shortened(posted.payload.get("exception")),
        "traceback": _shortened(posted.payload.get("traceback")),
    }
    return insert_or_ignore(connection, log, entry, returning=[log.c.ref]).scalar()


def _shortened(value: Any) -> str | None:
    """Return a value as a text for dashboards. They show thousands, so a long text keeps its begin and end only."""
    written = text(value)
    if written is None or len(written) <= LONGEST_TEXT:
        return written
    part = (LONGEST_TEXT - len(_CUT)) // 2
    return f"{written[:part]}{_CUT}{written[-part:]}"


def _mark(posted: Posted, entry: int, now: datetime) -> runs.Mark:
    outcome = runs.OUTCOMES.get(posted.code)
    return runs.Mark(posted.time or now, outcome, entry if outcome else None)


def _record_scheduler(connection: Connection, posted: Posted, now: datetime) -> None:
    name, at = posted.scheduler, posted.time or now
    upsert(connection, schedulers, {"name": name, "status": ACTIVE, "seen_at": now}, update=["seen_at"])
    if posted.code is Code.ALL_JOBS_REMOVED:
        remove_all(connection, str(name), at)
        return
    not_later = schedulers.c.status_at.is_(None) | (schedulers.c.status_at <= at)
    changed = update(schedulers).where(schedulers.c.name == name, not_later)
    connection.execute(changed.values(status=_STATUSES[posted.code], status_at=at))
