"""Reports runs that began, and of whose end nothing is heard: their process was killed, as likely as not.

A run is lost when it lasts longer than three times what the job's runs usually do; and when a later run of the job is
refused, because too many are under way, while it lasts longer than usual. How long is usual is not known of a job of
which no run has ended yet, so that only a refusal tells. A run that ends after all is shown as any other from then on.
"""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, select

from extension_kit.protocol import Host

from . import runs as all_runs
from .events import CronEyeEvent, of_lost
from .jobs import change, lock_row
from .runs import Run
from .settings import CronEyeSettings
from .tables import FAILED, LATER, UNKNOWN, runs

_FACTOR = 3
_FADING = 0.1  # of the difference, with each run that is shorter than usual
_BATCH = 100


def usual_seconds(before: float | None, run: Run) -> float | None:
    """Say how long the runs of a job usually take, after one has ended: as long as the longest of late, which fades.

    Args:
        before: what it was until now; None: no run has ended yet.
        run: the one that has ended. One that failed may have done so at once, which says little.
    """
    if run.duration is None:
        return before
    seconds = run.duration.total_seconds()
    if before is None or seconds >= before:
        return seconds
    is_failed = run.end is not None and run.end.outcome == FAILED
    return before if is_failed else before + (seconds - before) * _FADING


def lost_from(usual: float | None, begun: datetime, shortest: timedelta) -> datetime | None:
    """Say when a run that begins counts as lost; None where no run of the job has ended yet.

    Args:
        usual: seconds that the job's runs take.
        begun: when it began; not before it was heard of, for its end may be told as late as that.
        shortest: no run is lost before it has lasted for so long.
    """
    if usual is None:
        return None
    lasts = max(timedelta(seconds=_FACTOR * usual), shortest)
    return begun + lasts if lasts < LATER - begun else None  # clocks of services may say anything


def lose_refusing(connection: Connection, job: Row[Any], at: datetime, now: datetime) -> list[CronEyeEvent]:
    """Note that the newest run of a job is lost, where it is the reason that a later one was refused.

    Args:
        connection: of a transaction that keeps others from changing the job.
        job: the job.
        at: when it was refused.
        now: aware.

    Returns:
        The event that tells so; none where the run has ended, is not longer than usual, or was reported before.
    """
    run = all_runs.newest(connection, job.ref)
    if run is None or at - run.started_at < timedelta(seconds=job.usual_seconds or 0.0):
        return []
    return _lose(connection, job, run, now)


def report_lost(host: Host, settings: CronEyeSettings, now: datetime) -> int:
    """Publish an event for each run that counts as lost by now and was not reported.

    Any number of processes may look at the same time.

    Returns:
        How many were reported.
    """
    is_lost = (runs.c.lost_from <= now) & runs.c.ended_at.is_(None) & runs.c.lost_at.is_(None)
    batch = select(runs.c.ref, runs.c.job_ref, runs.c.started_at, runs.c.due_at).where(is_lost).limit(_BATCH)
    reported = 0
    while True:
        with host.read() as connection:
            found = connection.execute(batch).all()
        reported += sum(_report(host, run, now) for run in found)
        if len(found) < _BATCH:
            return reported


def _report(host: Host, run: Any, now: datetime) -> bool:
    with host.transaction() as transaction:
        if (job := lock_row(transaction.connection, run.job_ref)) is None:
            return False
        events = _lose(transaction.connection, job, run, now)
        transaction.publish(*events)
        return bool(events)


def _lose(connection: Connection, job: Row[Any], run: Row[Any], now: datetime) -> list[CronEyeEvent]:
    if not all_runs.note_lost(connection, run.ref, now):
        return []
    change(connection, job.ref, all_runs.state(all_runs.newest(connection, job.ref)))
    scheduler = job.scheduler if job.scheduler != UNKNOWN else None
    return [of_lost(scheduler, job.job_id, job.task, job.next_run, started=run.started_at, due=run.due_at, now=now)]
