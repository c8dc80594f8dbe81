"""Retention: deletes old log entries, runs, jobs and schedulers, so that the tables stay bounded."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import ColumnElement, Table, delete, exists, select, tuple_

from extension_kit.protocol import Host

from .settings import CronEyeSettings
from .tables import SHUTDOWN, jobs, log, runs, schedulers

EVERY = 3600.0
"""Seconds between calls of the task."""

_BATCH = 500


def remove_old(host: Host, settings: CronEyeSettings, now: datetime | None = None) -> int:
    """Delete rows older than ``EXTENSION_RETENTION_DAYS``, in small transactions between which others write.

    These are log entries, runs, stopped schedulers, and jobs that were removed, that should have run, or that were
    never added and have no next run. A service that gives its jobs no ids makes new jobs at every start.

    Returns:
        The number of deleted rows.
    """
    horizon = (now or datetime.now(UTC)) - timedelta(days=host.settings.retention_days)
    is_gone = ~jobs.c.is_active | (jobs.c.next_run < horizon) | (jobs.c.task.is_(None) & jobs.c.next_run.is_(None))
    has_jobs = exists().where(jobs.c.scheduler == schedulers.c.name)
    return (
        _remove(host, log, log.c.received_at < horizon)
        + _remove(host, runs, runs.c.begun_at < horizon)
        + _remove(host, jobs, (jobs.c.seen_at < horizon) & is_gone)
        + _remove(host, schedulers, (schedulers.c.status == SHUTDOWN) & (schedulers.c.seen_at < horizon) & ~has_jobs)
    )


def _remove(host: Host, table: Table, condition: ColumnElement[bool]) -> int:
    batch = select(*table.primary_key).where(condition).limit(_BATCH).correlate(None)
    removal = delete(table).where(tuple_(*table.primary_key).in_(batch), condition)
    removed = 0
    while True:
        with host.transaction() as transaction:
            count = transaction.connection.execute(removal).rowcount
        removed += count
        if count < _BATCH:
            return removed
