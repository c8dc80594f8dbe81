"""Retention: deletes old log entries, runs, jobs and schedulers, so that the tables stay bounded."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import exists

from extension_kit.protocol import Kit, delete_in_batches

from .settings import CronEyeSettings
from .tables import SHUTDOWN, jobs, log, runs, schedulers

EVERY = 3600.0
"""Seconds between calls of the task."""


def remove_old(kit: Kit, settings: CronEyeSettings, now: datetime | None = None) -> int:
    """Delete rows older than ``EXTENSION_RETENTION_DAYS``, in small transactions between which others write.

    These are log entries, runs, stopped schedulers, and jobs that were removed, that should have run, or that were
    never added and have no next run. A service that gives its jobs no ids makes new jobs at every start.

    Returns:
        The number of deleted rows.
    """
    horizon = (now or datetime.now(UTC)) - timedelta(days=kit.settings.retention_days)
    is_gone = ~jobs.c.is_active | (jobs.c.next_run < horizon) | (jobs.c.task.is_(None) & jobs.c.next_run.is_(None))
    has_jobs = exists().where(jobs.c.scheduler == schedulers.c.name)
    is_stopped = (schedulers.c.status == SHUTDOWN) & (schedulers.c.seen_at < horizon)
    return (
        delete_in_batches(kit.database, log, log.c.received_at < horizon)
        + delete_in_batches(kit.database, runs, runs.c.begun_at < horizon)
        + delete_in_batches(kit.database, jobs, (jobs.c.seen_at < horizon) & is_gone)
        + delete_in_batches(kit.database, schedulers, is_stopped & ~has_jobs)
    )
