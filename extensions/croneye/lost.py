"""Lost runs: reports runs that began and have no known end, probably because their process was killed.

A run is lost when it lasts longer than three times the job's usual duration; and when a later run of the job is refused
because too many are running, while this one lasts longer than usual. The usual duration is unknown until a run of the
job has ended; until then only a refusal counts. A lost run that ends after all is shown like any other from then on.
"""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, select

from extension_kit.protocol import Kit

from . import runs as all_runs
from .events import CronEyeEvent, lost_event
from .jobs import change, lock_row
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


def record_blocking_run(connection: Connection, job: Row[Any], at: datetime, now: datetime) -> list[CronEyeEvent]:
    """Record the newest run of a job as lost, if a later run was refused because of it.

    Args:
        connection: of a transaction that has locked the job.
        job: the job.
        at: the time of the refusal.
        now: the current time, aware.

    Returns:
        The event to publish; none if the run has ended, is not longer than usual, or was reported before.
    """
    run = all_runs.newest(connection, job.ref)
    if run is None or at - run.started_at < timedelta(seconds=job.usual_seconds or 0.0):
        return []
    return _record_lost(connection, job, run, now)


def report_lost(kit: Kit, settings: CronEyeSettings, now: datetime) -> int:
    """Publish an event for each lost run that was not reported yet.

    Any number of processes may call this at the same time.

    Returns:
        The number of reported runs.
    """
    is_lost = (runs.c.lost_from <= now) & runs.c.ended_at.is_(None) & runs.c.lost_at.is_(None)
    batch = select(runs.c.ref, runs.c.job_ref, runs.c.started_at, runs.c.due_at).where(is_lost).limit(_BATCH)
    reported = 0
    while True:
        with kit.read() as connection:
            found = connection.execute(batch).all()
        reported += sum(_report(kit, run, now) for run in found)
        if len(found) < _BATCH:
            return reported


def _report(kit: Kit, run: Any, now: datetime) -> bool:
    with kit.transaction() as transaction:
        if (job := lock_row(transaction.connection, run.job_ref)) is None:
            return False
        events = _record_lost(transaction.connection, job, run, now)
        transaction.publish(*events)
        return bool(events)


def _record_lost(connection: Connection, job: Row[Any], run: Row[Any], now: datetime) -> list[CronEyeEvent]:
    if not all_runs.record_lost(connection, run.ref, now):
        return []
    change(connection, job.ref, all_runs.state(all_runs.newest(connection, job.ref)))
    scheduler = job.scheduler if job.scheduler != UNKNOWN else None
    return [lost_event(scheduler, job.job_id, job.task, job.next_run, started=run.started_at, due=run.due_at, now=now)]
