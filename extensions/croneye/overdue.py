"""Overdue jobs: reports jobs that did not run at their time, once for each such time."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, select, update

from extension_kit.protocol import Kit

from .events import overdue_event
from .settings import CronEyeSettings
from .tables import ACTIVE, UNKNOWN, jobs, schedulers

_BATCH = 100


def report_overdue(kit: Kit, settings: CronEyeSettings, now: datetime) -> int:
    """Publish an event for each overdue job that was not reported for the same time before, the earliest first.

    A job is overdue if no event of a run was received for ``EXTENSION_CRONEYE_OVERDUE_AFTER`` seconds after the time of
    its next run. Removed jobs, and jobs of a paused or stopped scheduler, are not overdue; after the start of a
    scheduler its jobs have as many seconds again. Any number of processes may call this at the same time.

    Returns:
        The number of reported jobs.
    """
    is_unreported = jobs.c.overdue_for.is_(None) | (jobs.c.overdue_for != jobs.c.next_run)
    overdue = is_overdue(overdue_limit(settings, now)) & is_unreported
    batch = select(jobs.c.ref, jobs.c.next_run).where(overdue).order_by(jobs.c.next_run, jobs.c.ref).limit(_BATCH)
    reported = 0
    while True:
        with kit.read() as connection:
            found = connection.execute(batch).all()
        reported += sum(_report(kit, row, overdue, now) for row in found)
        if len(found) < _BATCH:
            return reported


def overdue_limit(settings: CronEyeSettings, now: datetime) -> datetime:
    """Return the time until which the next run of a job must be due for the job to be overdue now."""
    return now - timedelta(seconds=settings.overdue_after)


def is_overdue(limit: datetime) -> ColumnElement[bool]:
    """Return the condition that a job is overdue, be it reported or not; ``limit`` is that of ``overdue_limit``."""
    is_off = (schedulers.c.status != ACTIVE) | (schedulers.c.status_at > limit)
    off = select(schedulers.c.name).where(schedulers.c.name == jobs.c.scheduler, is_off)
    return (
        jobs.c.is_active
        & (jobs.c.next_run <= limit)
        & (jobs.c.last_at.is_(None) | (jobs.c.last_at < jobs.c.next_run))
        & ~off.correlate(jobs).exists()
    )


def _report(kit: Kit, found: Any, overdue: ColumnElement[bool], now: datetime) -> bool:
    with kit.transaction() as transaction:
        # Since the query, it may have run, or another process may have reported it.
        still = (jobs.c.ref == found.ref) & (jobs.c.next_run == found.next_run) & overdue
        mine = update(jobs).where(still).values(overdue_for=found.next_run).returning(*jobs.c)
        if (job := transaction.connection.execute(mine).one_or_none()) is None:
            return False
        scheduler = job.scheduler if job.scheduler != UNKNOWN else None
        transaction.publish(overdue_event(scheduler, job.job_id, job.task, found.next_run, now))
        return True
