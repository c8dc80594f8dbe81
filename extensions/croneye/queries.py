"""Queries of the dashboards. All input is passed as parameters, never as part of a statement."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, exists, func, select

from .codes import EXECUTION, Code
from .runs import Mark, Run
from .tables import ACTIVE, FAILED, LOST, MISSED, jobs, log, runs, schedulers
from .times import milliseconds

_MOST_RUNS = 5000
"""Runs in an answer at most; the newest are kept."""

_OF_JOB = log.outerjoin(jobs, jobs.c.ref == log.c.job_ref)
_TASK = func.coalesce(jobs.c.task, jobs.c.job_id)  # a job without an event that it was added has no other name
_SCHEDULER = func.nullif(func.coalesce(jobs.c.scheduler, log.c.scheduler), "")
_TASKS = select(jobs.c.task).where(jobs.c.task.is_not(None)).distinct().order_by(jobs.c.task)
_CODES = {code.constant: code for code in Code}


class Filters(NamedTuple):
    """Filters of the log; an empty one selects everything."""

    search: str = ""
    schedulers: Sequence[str] = ()
    jobs: Sequence[str] = ()
    events: Sequence[str] = ()
    since: datetime | None = None
    until: datetime | None = None


def summary(connection: Connection) -> dict[str, Any]:
    """Count jobs: all active ones, running, overrun (refused because a run still ran), and lost ones."""
    overran = jobs.c.last_code == Code.JOB_MAX_INSTANCES
    counted = select(
        func.count(),
        func.count(jobs.c.running_since),
        func.count().filter(overran),
        func.count(jobs.c.lost_since),
        exists().where(schedulers.c.status == ACTIVE),
    ).where(jobs.c.is_active)
    total, running, overrun, lost, is_active = connection.execute(counted).one()
    return {
        "scheduler": "active" if is_active else "inactive",
        "total_jobs": total,
        "running_jobs": running,
        "overrun_jobs": overrun,
        "lost_jobs": lost,
    }


def jobs_with_runs(connection: Connection, start: datetime, end: datetime) -> list[dict[str, Any]]:
    """List the jobs that ran, should have run or could not run between two times, with these runs.

    A run without a known end is shown at its begin, not as one that goes on for ever.
    """
    is_open = runs.c.ended_at.is_(None)
    is_lost = is_open & (runs.c.started_at < start) & jobs.c.running_since.is_distinct_from(runs.c.started_at)
    ran = (
        select(runs, log.c.return_value, log.c.exception, log.c.traceback)
        .select_from(runs.join(jobs, jobs.c.ref == runs.c.job_ref).outerjoin(log, log.c.ref == runs.c.ended_log))
        .where(runs.c.until >= start, runs.c.begun_at <= end, ~is_lost)
        .order_by(runs.c.until.desc(), runs.c.ref.desc())
        .limit(_MOST_RUNS)
    )
    breaches = (
        select(log.c.job_ref, log.c.sort_at)
        .where(log.c.code == Code.JOB_MAX_INSTANCES, log.c.sort_at.between(start, end))
        .order_by(log.c.sort_at.desc(), log.c.ref.desc())
        .limit(_MOST_RUNS)
    )
    shown: dict[int, list[dict[str, Any]]] = {}
    for row in sorted(connection.execute(ran), key=lambda row: (row.begun_at, row.ref)):
        shown.setdefault(row.job_ref, []).append(_run_to_json(row))
    for job_ref, at in reversed(connection.execute(breaches).all()):
        _add_breach(shown.setdefault(job_ref, []), milliseconds(at))
    described = select(jobs.c.ref, jobs.c.job_id, jobs.c.is_active, _TASK.label("name"), jobs.c.next_run).order_by(
        "name", jobs.c.ref
    )
    return [
        {
            "id": row.job_id,
            "name": row.name,
            "next_scheduled_run": milliseconds(row.next_run),
            "events": shown[row.ref],
            "job_status": _job_status(row.is_active),
        }
        for row in connection.execute(described.where(jobs.c.ref.in_(list(shown))))
    ]


def _run_to_json(row: Any) -> dict[str, Any]:
    start, end = row.started_at, row.ended_at
    missed = row.outcome == MISSED
    duration = Run(
        Mark(start, None, None) if start else None, Mark(end, row.outcome, row.ended_log) if end else None
    ).duration
    return {
        "start": milliseconds((start or end) if missed else start),
        "end": None if missed else milliseconds(end),
        "return_value": row.return_value,
        "exception": (row.exception or "Not captured") if row.outcome == FAILED else row.exception,
        "traceback": row.traceback,
        "miss_flag": missed,
        "max_instance_count": [],
        "outcome": LOST if end is None and row.lost_at is not None else row.outcome,
        "duration": None if duration is None else round(duration.total_seconds() * 1000),
    }


def _add_breach(events: list[dict[str, Any]], at: int | None) -> None:
    """Add a refused run to the run that was the reason; without one it is shown alone."""
    before = [event for event in events if event["start"] is not None and event["start"] <= (at or 0)]
    if before:
        before[-1]["max_instance_count"].append(at)
        return
    nothing = dict.fromkeys(("start", "end", "return_value", "exception", "traceback"))
    alone = {"miss_flag": False, "max_instance_count": [at], "outcome": None, "duration": None}
    events.append({**nothing, **alone})


def logs(connection: Connection, filters: Filters, page: int, size: int) -> tuple[list[dict[str, Any]], int]:
    """List entries of the log, newest first, entries without a time before all others.

    Without a filter for events, only execution events are listed, as in CronEye.

    Args:
        connection: the connection to read with.
        filters: selects entries.
        page: number of the page, from 1.
        size: entries of a page.

    Returns:
        The entries of the page, and the number of entries on all pages.
    """
    wanted = _conditions(filters)
    total = connection.execute(select(func.count()).select_from(_OF_JOB).where(*wanted)).scalar_one()
    query = (
        select(
            _SCHEDULER.label("scheduler"),
            schedulers.c.status,
            jobs.c.job_id,
            jobs.c.is_active,
            _TASK.label("task"),
            jobs.c.next_run,
            log.c.code,
            log.c.time,
            log.c.return_value,
            log.c.exception,
            log.c.traceback,
        )
        .select_from(_OF_JOB.outerjoin(schedulers, schedulers.c.name == _SCHEDULER))
        .where(*wanted)
        .order_by(log.c.sort_at.desc(), log.c.ref.desc())
        .limit(size)
        .offset((page - 1) * size)
    )
    return [_entry_to_json(row) for row in connection.execute(query)], total


def _conditions(filters: Filters) -> list[ColumnElement[bool]]:
    codes = [_CODES[name] for name in filters.events if name in _CODES] if filters.events else EXECUTION
    conditions: list[ColumnElement[bool]] = [log.c.code.in_(sorted(codes))]
    if filters.search:
        conditions.append(_TASK.icontains(filters.search, autoescape=True))
    if filters.schedulers:
        conditions.append(_SCHEDULER.in_(filters.schedulers))
    if filters.jobs:
        conditions.append(_TASK.in_(filters.jobs))
    if filters.since is not None:
        conditions.append(log.c.time >= filters.since)
    if filters.until is not None:
        conditions.append(log.c.time <= filters.until)
    return conditions


def _entry_to_json(row: Any) -> dict[str, Any]:
    return {
        "scheduler_name": row.scheduler,
        "scheduler_status": row.status,
        "job_id": row.job_id,
        "job_name": row.task,
        "job_next_schedule_run": milliseconds(row.next_run),
        "event_status": Code(row.code).constant,
        "event_time": milliseconds(row.time),
        "event_return_value": row.return_value,
        "event_exception": row.exception,
        "event_traceback": row.traceback,
        "job_status": _job_status(row.is_active),
    }


def _job_status(is_active: bool | None) -> str | None:
    """Return the status of a job; None for entries without a job."""
    return None if is_active is None else "active" if is_active else "removed"


def choices(connection: Connection) -> Mapping[str, list[str]]:
    """List the filters of the log: names of schedulers and jobs, and of events that were received."""
    seen = select(*(exists().where(log.c.code == code).label(code.constant) for code in Code))
    found = connection.execute(seen).one()._mapping
    return {
        "schedulers": list(connection.execute(select(schedulers.c.name).order_by(schedulers.c.name)).scalars()),
        "jobs": list(connection.execute(_TASKS).scalars()),
        "events": sorted(name for name, is_seen in found.items() if is_seen),
    }
