"""Page of the event log with the jobs: overdue ones first, with their schedulers and the runs of the last 24 hours.

However many jobs there are, an index finds each part of the page, and of the jobs that are due a bounded number is
looked at.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import orjson
from sqlalchemy import Connection, Row, Select, select, tuple_

from extension_kit.protocol import BadPlace, Cell, LogTable, Status, TimeBars

from .codes import Code
from .overdue import is_overdue, overdue_limit
from .run_lines import OPEN_STATE, read_lines
from .runs import OUTCOMES
from .settings import CronEyeSettings
from .tables import ACTIVE, LOST, UNKNOWN, jobs, schedulers
from .times import parse_time

MOST_DUE = 10_000
"""Jobs with a due run that are looked at: those that have become due last."""

_PERIOD = timedelta(hours=24)
_COLUMNS = ("Job", "Id", "Scheduler", "State", "Next run", "Last run", "Last event", "Runs of the last 24 hours")
_OVERDUE, _PLANNED, _DUE, _UNPLANNED = range(4)  # parts of the table
_LARGEST = 2**63 - 1
_LAST_RUN = OUTCOMES | {Code.JOB_SUBMITTED: OPEN_STATE, Code.JOB_MAX_INSTANCES: "refused"}


class _Place(NamedTuple):
    """The place of a job in the table: its part, its next run (None in the last part), and its number."""

    part: int
    next_run: datetime | None
    ref: int

    @classmethod
    def of(cls, text: str) -> "_Place":
        try:
            part, next_run, ref = orjson.loads(text)
            place = cls(part, parse_time(next_run), ref)
        except (ValueError, TypeError):
            raise BadPlace from None
        is_number = type(ref) is int and 0 <= ref <= _LARGEST
        if part not in range(4) or not is_number or (part == _UNPLANNED) != (place.next_run is None):
            raise BadPlace
        return place

    def __str__(self) -> str:
        return orjson.dumps([self.part, self.next_run, self.ref]).decode()


def read_jobs(connection: Connection, settings: CronEyeSettings, before: str | None, limit: int) -> LogTable:
    """Read a page of jobs: overdue ones, those with a run to come, others with a next run, those without one.

    Removed jobs are left out.
    """
    now = datetime.now(UTC)
    due_until = overdue_limit(settings, now)
    found = list(_find(connection, due_until, None if before is None else _Place.of(before), limit + 1))
    end = now.replace(second=0, microsecond=0) + timedelta(minutes=1)  # a page stays the same until then
    lines = read_lines(connection, {job.ref: job.running_since for _, job in found[:limit]}, end - _PERIOD)
    last = found[limit - 1] if len(found) > limit else None
    return LogTable(
        _COLUMNS,
        [_cells(part, job, TimeBars(lines[job.ref])) for part, job in found[:limit]],
        next=None if last is None else str(_Place(last[0], last[1].next_run, last[1].ref)),
        period=(end - _PERIOD, end),
        note=_note(connection, due_until),
    )


def _find(
    connection: Connection, due_until: datetime, place: _Place | None, limit: int
) -> Iterator[tuple[int, Row[Any]]]:
    """Yield at most ``limit`` jobs behind a place, each with its part."""
    for part in range(0 if place is None else place.part, 4):
        query = _query(part, due_until, place if place is not None and place.part == part else None)
        rows = connection.execute(query.limit(limit)).all()
        yield from ((part, row) for row in rows)
        if (limit := limit - len(rows)) == 0:
            return


def _query(part: int, due_until: datetime, place: _Place | None) -> Select[Any]:
    """Return the query of the jobs of a part, behind a place in it."""
    query = _JOBS.where(jobs.c.is_active)
    sorted_by = tuple_(jobs.c.next_run, jobs.c.ref)
    if part == _UNPLANNED:
        query = query.where(jobs.c.next_run.is_(None), jobs.c.ref > (place.ref if place else 0))
        return query.order_by(jobs.c.ref)
    if part == _PLANNED:
        query = query.where(jobs.c.next_run > due_until)
        if place is not None:
            query = query.where(jobs.c.next_run >= place.next_run, sorted_by > (place.next_run, place.ref))
        return query.order_by(jobs.c.next_run, jobs.c.ref)
    overdue = is_overdue(due_until)
    query = query.where(jobs.c.ref.in_(_due(due_until)), overdue if part == _OVERDUE else ~overdue)
    if place is not None:
        query = query.where(sorted_by < (place.next_run, place.ref))
    return query.order_by(jobs.c.next_run.desc(), jobs.c.ref.desc())


def _due(due_until: datetime) -> Select[Any]:
    due = select(jobs.c.ref).where(jobs.c.is_active, jobs.c.next_run <= due_until)
    return due.order_by(jobs.c.next_run.desc(), jobs.c.ref.desc()).limit(MOST_DUE)


def _note(connection: Connection, due_until: datetime) -> str:
    behind = select(jobs.c.ref).where(jobs.c.is_active, jobs.c.next_run <= due_until)
    behind = behind.order_by(jobs.c.next_run.desc(), jobs.c.ref.desc()).offset(MOST_DUE).limit(1)
    if connection.execute(behind).first() is None:
        return ""
    return f"Of the jobs whose next run is due, the {MOST_DUE:,} that have become due last are shown."


def _cells(part: int, job: Row[Any], line: TimeBars) -> tuple[Cell, ...]:
    return (
        job.task or job.job_id,
        job.job_id,
        None if job.scheduler == UNKNOWN else job.scheduler,
        Status("overdue" if part == _OVERDUE else _state(job)),
        job.next_run,
        None if job.last_code is None else Status(_last_run(job)),
        job.last_at,
        line,
    )


def _state(job: Row[Any]) -> str:
    if job.lost_since is not None:
        return LOST
    return OPEN_STATE if job.running_since is not None else job.status or ACTIVE


def _last_run(job: Row[Any]) -> str:
    is_lost = job.lost_since is not None and job.last_code in (Code.JOB_SUBMITTED, Code.JOB_MAX_INSTANCES)
    return LOST if is_lost else _LAST_RUN[Code(job.last_code)]


_JOBS = select(jobs, schedulers.c.status).outerjoin_from(jobs, schedulers, schedulers.c.name == jobs.c.scheduler)
