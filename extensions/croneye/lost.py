"""Lost runs: reports runs that began and have no known end, probably because their process was killed.

A run is lost when it lasts longer than three times the job's usual duration; and when a later run of the job is refused
because too many are running, while this one lasts longer than usual. The usual duration is unknown until a run of the
job has ended; until then only a refusal counts. A lost run that ends after all is shown like any other from then on.
"""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select

from extension_kit.protocol import Kit

from .events import CronEyeEvent, lost_event
from .job_rows import lock_row, write_jobs
from .jobs import Job
from .known_runs import KnownRun
from .run_rows import Concerned, read_runs, record_lost
from .runs import Run
from .settings import CronEyeSettings
from .tables import FAILED, LATER, UNKNOWN, runs

_FACTOR = 3
_FADING = 0.1  # part of the difference that each shorter run takes off
_BATCH = 100


def usual_seconds(before: float | None, run: Run) -> float | None:
    """Return the usual seconds of a job's runs after one has ended: the longest of late, fading with shorter runs.

    Args:
        before: the usual seconds until now; None: no run has ended yet.
        run: the ended run. A shorter failed run is ignored, because it may have failed at once.
    """
    if run.duration is None:
        return before
    seconds = run.duration.total_seconds()
    if before is None or seconds >= before:
        return seconds
    is_failed = run.end is not None and run.end.outcome == FAILED
    return before if is_failed else before + (seconds - before) * _FADING


def lost_from(usual: float | None, begun: datetime, shortest: timedelta) -> datetime | None:
    """Return the time from which a run counts as lost; None if no run of the job has ended yet.

    Args:
        usual: the usual seconds of the job's runs.
        begun: the begin of the run or, if later, the arrival of this event, because its end may be sent as late.
        shortest: the minimum duration of a lost run.
    """
    if usual is None:
        return None
    lasts = max(timedelta(seconds=_FACTOR * usual), shortest)
    return begun + lasts if lasts < LATER - begun else None  # a service's clock may be wrong by any amount


def lose_blocking_run(run: KnownRun | None, job: Job, at: datetime, now: datetime) -> list[CronEyeEvent]:
    """Make the newest run of a job a lost one, if a later run was refused because of it.

    Args:
        run: the newest run; None: there is none.
        job: the job, before the refusal.
        at: the time of the refusal.
        now: when it arrived, aware.

    Returns:
        The event to publish; none if the run has ended, is not longer than usual, or was reported before.
    """
    if run is None or run.started_at is None or at - run.started_at < timedelta(seconds=job.usual_seconds or 0.0):
        return []
    if run.run.end is not None or run.loss.reported_at is not None:
        return []
    run.change(run.run, run.loss._replace(reported_at=now))
    return [_lost_event(job, run.started_at, run.due_at, now)]


def report_lost(kit: Kit, settings: CronEyeSettings, now: datetime) -> int:
    """Publish an event for each lost run that was not reported yet, the earliest first.

    Any number of processes may call this at the same time.

    Returns:
        The number of reported runs.
    """
    is_lost = (runs.c.lost_from <= now) & runs.c.ended_at.is_(None) & runs.c.lost_at.is_(None)
    all_lost = select(runs.c.ref, runs.c.job_ref, runs.c.started_at, runs.c.due_at).where(is_lost)
    batch = all_lost.order_by(runs.c.lost_from, runs.c.ref).limit(_BATCH)
    reported = 0
    while True:
        with kit.read() as connection:
            found = connection.execute(batch).all()
        reported += sum(_report(kit, run, now) for run in found)
        if len(found) < _BATCH:
            return reported


def _report(kit: Kit, run: Any, now: datetime) -> bool:
    with kit.transaction() as transaction:
        connection = transaction.connection
        if (row := lock_row(connection, run.job_ref)) is None or not record_lost(connection, run.ref, now):
            return False
        event = _lost_event(row.job, run.started_at, run.due_at, now)
        row.job = read_runs(connection, [Concerned(row.ref)]).applied_to(row.job, row.ref)
        write_jobs(connection, [row])
        transaction.publish(event)
        return True


def _lost_event(job: Job, started: datetime, due: datetime | None, now: datetime) -> CronEyeEvent:
    scheduler = job.scheduler if job.scheduler != UNKNOWN else None
    return lost_event(scheduler, job.job_id, job.task, job.next_run, started=started, due=due, now=now)
