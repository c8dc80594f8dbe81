"""Records posted events in the tables and publishes them to listeners, in one transaction."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Connection

from extension_kit.protocol import BulkStatement, Transaction

from .codes import EXECUTION, SCHEDULER, Code
from .events import CronEyeEvent, posted_event
from .job_rows import JobRow, JobRows
from .jobs import Job
from .known_runs import KnownRuns
from .log_entries import Arrival, add_entries, find_new
from .lost import lose_blocking_run, lost_from, usual_seconds
from .run_rows import Concerned, read_runs, write_runs
from .runs import OUTCOMES, Mark
from .scheduler_rows import SchedulerRows
from .tables import UNKNOWN


class _Step(NamedTuple):
    """An event with the row of its job, if it has one, and this job before and after it."""

    arrival: Arrival
    row: JobRow | None = None
    before: Job | None = None
    after: Job | None = None


def record(transaction: Transaction, arrivals: Sequence[Arrival], shortest: timedelta) -> None:
    """Record events and their effects, and publish them, as if each had a transaction of its own.

    A repeated event changes nothing. All transactions lock in the same order, so that they cannot deadlock: ids of jobs
    and events by their hashes, rows of jobs by their ``ref``, schedulers by their names, then the rows of the kit.

    Args:
        transaction: the caller commits it before it answers.
        arrivals: the events, in the order of their arrival.
        shortest: the minimum duration of a lost run.
    """
    connection = transaction.connection
    _lock(connection, arrivals)
    new = find_new(connection, arrivals)
    if not new:
        return
    schedulers = SchedulerRows()
    jobs = JobRows(
        connection,
        schedulers,
        {arrival.posted.job_id for arrival in new if arrival.posted.job_id is not None},
        {name for arrival in new if (name := _emptied(arrival)) is not None},
    )
    steps = [_take(arrival, jobs, schedulers) for arrival in new]
    jobs.add_new()
    schedulers.write(connection)
    entries = add_entries(connection, [(step.arrival, None if step.row is None else step.row.ref) for step in steps])
    runs = read_runs(connection, _concerned(steps))
    events: list[CronEyeEvent] = []
    for step, entry in zip(steps, entries, strict=True):
        events += _events(step, entry, runs, shortest)
    for row in {step.row for step in steps if step.row is not None and step.arrival.posted.code in EXECUTION}:
        row.job = runs.applied_to(row.job, row.ref)
    write_runs(connection, runs)
    jobs.write()
    transaction.publish(*events)


def _lock(connection: Connection, arrivals: Sequence[Arrival]) -> None:
    """Lock the ids of jobs, and those of events without a job: nobody else records the same at the same time."""
    if connection.dialect.name == "postgresql":  # a transaction of SQLite has the only write lock
        names = (arrival.id if arrival.posted.job_id is None else arrival.posted.job_id for arrival in arrivals)
        _LOCK.execute(connection, [(name,) for name in dict.fromkeys(names)])


def _emptied(arrival: Arrival) -> str | None:
    """Return the scheduler that has removed all its jobs, if the event says so."""
    return arrival.posted.scheduler if arrival.posted.code is Code.ALL_JOBS_REMOVED else None


def _take(arrival: Arrival, jobs: JobRows, schedulers: SchedulerRows) -> _Step:
    """Apply an event to its job or scheduler, except for the consequences of runs."""
    posted, now = arrival.posted, arrival.now
    if posted.job_id is not None:
        row = jobs.find(posted, posted.job_id, now)
        before = row.job
        row.job = before.after(posted, now)
        return _Step(arrival, row, before, row.job)
    if posted.scheduler is not None:
        at = posted.time or now
        if posted.code in SCHEDULER:
            schedulers.see(posted.scheduler, now)
            schedulers.set_status(posted.scheduler, posted.code, at)
        elif posted.code is Code.ALL_JOBS_REMOVED:
            schedulers.see(posted.scheduler, now)
            jobs.remove_all(posted.scheduler, at)
    return _Step(arrival)


def _concerned(steps: Sequence[_Step]) -> list[Concerned]:
    return [
        Concerned(step.row.ref, *_mark_of(step.arrival))
        for step in steps
        if step.row is not None and step.arrival.posted.code in EXECUTION
    ]


def _mark_of(arrival: Arrival) -> tuple[datetime | None, datetime | None]:
    posted = arrival.posted
    return (None, None) if posted.code is Code.JOB_MAX_INSTANCES else (posted.time or arrival.now, posted.due)


def _events(step: _Step, entry: int, runs: KnownRuns, shortest: timedelta) -> list[CronEyeEvent]:
    """Apply an event to the runs of its job, and return the events to publish."""
    arrival, row, before, after = step
    posted, now = arrival.posted, arrival.now
    if row is None or before is None or after is None:
        return [_posted_event(arrival, posted.scheduler, None, None)]
    duration: timedelta | None = None
    lost: list[CronEyeEvent] = []
    at = posted.time or now
    if posted.code is Code.JOB_MAX_INSTANCES:
        blocked = before._replace(usual_seconds=row.job.usual_seconds)
        lost = lose_blocking_run(runs.newest(row.ref), blocked, at, now)
    elif posted.code in EXECUTION:
        outcome = OUTCOMES.get(posted.code)
        mark = Mark(at, outcome, entry if outcome else None)
        run = runs.pair_with(row.ref, mark, posted.due, lost_from(row.job.usual_seconds, max(mark.at, now), shortest))
        if run.end is mark:
            duration = run.duration
            row.job = row.job._replace(usual_seconds=usual_seconds(row.job.usual_seconds, run))
    scheduler = before.scheduler if before.scheduler != UNKNOWN else None
    return [_posted_event(arrival, scheduler, after.task, duration), *lost]


def _posted_event(
    arrival: Arrival, scheduler: str | None, task: str | None, duration: timedelta | None
) -> CronEyeEvent:
    posted, id, _, trace_context = arrival
    return posted_event(posted, id, scheduler=scheduler, task=task, duration=duration, trace_context=trace_context)


# Locks of PostgreSQL are kept apart from those of other users.
_LOCK = BulkStatement(
    "SELECT pg_advisory_xact_lock(key) FROM"
    " (SELECT DISTINCT hashtextextended('croneye ' || name, 0) AS key FROM {given} ORDER BY key) AS keys",
    {"name": "text"},
)
