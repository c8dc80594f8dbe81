"""Tables of the CronEye extension: schedulers, jobs, runs, the log of events, and users.

Names of schedulers and ids of jobs come from services, and are stored as ``payload`` has shortened them. Times are
aware and in UTC; those that services send are by the services' clocks.
"""

from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import (
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from extension_kit.protocol import NUMBER, Tables, UtcDateTime, new_metadata

metadata = new_metadata()

LATER = datetime(9999, 1, 1, tzinfo=UTC)
"""Stands for "not yet" in columns by which rows are sorted or found."""

UNKNOWN = ""
"""The scheduler of a job that no event has named yet."""

ACTIVE, PAUSED, SHUTDOWN = "active", "paused", "shutdown"
"""Statuses of a scheduler."""

schedulers = Table(
    "croneye_schedulers",
    metadata,
    Column("name", String(255), primary_key=True),
    Column("status", String(16), nullable=False),
    Column("status_at", UtcDateTime),  # time of the event; null: it is only known from events of its jobs
    Column("seen_at", UtcDateTime, nullable=False),
)

jobs = Table(
    "croneye_jobs",
    metadata,
    Column("ref", NUMBER, primary_key=True, autoincrement=True),
    Column("scheduler", String(255), nullable=False),
    Column("job_id", String(255), nullable=False),
    Column("task", Text),  # null: no event of its addition was received
    Column("is_active", Boolean, nullable=False),
    Column("is_active_at", UtcDateTime),  # when it was added or removed; null: unknown
    Column("next_run", UtcDateTime),
    Column("next_run_at", UtcDateTime),  # time of the event that set next_run
    Column("overdue_for", UtcDateTime),  # the next_run that it was reported overdue for
    Column("last_code", Integer),  # of its last execution event, by the time of the event
    Column("last_at", UtcDateTime),
    Column("running_since", UtcDateTime),  # null: it does not run
    Column("usual_seconds", Float),  # usual duration of its runs; null: none has ended yet
    Column("lost_since", UtcDateTime),  # begin of its newest run, if that is lost
    Column("seen_at", UtcDateTime, nullable=False),
    UniqueConstraint("job_id", "scheduler"),
    Index(None, "scheduler"),
    Index(None, "is_active", "next_run"),
    Index(None, "seen_at"),
)

SUCCEEDED, FAILED, MISSED = "succeeded", "failed", "missed"
"""Outcomes of a run."""

LOST = "lost"
"""The outcome shown for a run that was reported as lost."""

runs = Table(
    "croneye_runs",
    metadata,
    Column("ref", NUMBER, primary_key=True, autoincrement=True),
    Column("job_ref", NUMBER, ForeignKey("croneye_jobs.ref", ondelete="CASCADE"), nullable=False),
    Column("due_at", UtcDateTime),  # scheduled begin, which identifies the run, if the service sends it
    Column("started_at", UtcDateTime),  # null: no such event was received
    Column("ended_at", UtcDateTime),
    Column("ended_log", NUMBER),  # the log entry of this event
    Column("outcome", String(16)),  # null: it runs, or its end was lost
    Column("lost_from", UtcDateTime),  # from then on it counts as lost, if it has not ended; null: unknown
    Column("lost_at", UtcDateTime),  # when it was reported as lost
    Column("begun_at", UtcDateTime, nullable=False),  # the earlier of both times, as far as they are known
    Column("until", UtcDateTime, nullable=False),  # the later of both; LATER without an end
    Index(None, "job_ref", "due_at"),
    Index(None, "job_ref", "started_at"),
    Index(None, "job_ref", "until"),
    Index(None, "until"),
    Index(None, "begun_at"),
    Index(None, "lost_from"),
)

log = Table(
    "croneye_log",
    metadata,
    Column("ref", NUMBER, primary_key=True, autoincrement=True),
    Column("event_id", String(64), nullable=False),  # of the published event
    Column("code", Integer, nullable=False),
    Column("scheduler", String(255), nullable=False),  # of events without a job; else the job knows it
    Column("job_ref", NUMBER, ForeignKey("croneye_jobs.ref", ondelete="CASCADE")),
    Column("time", UtcDateTime),
    Column("sort_at", UtcDateTime, nullable=False),  # the time; LATER without one: dashboards show it first
    Column("received_at", UtcDateTime, nullable=False),
    Column("next_run", UtcDateTime),
    Column("return_value", Text),
    Column("exception", Text),
    Column("traceback", Text),
    UniqueConstraint("event_id"),
    Index(None, "sort_at", "ref"),
    Index(None, "job_ref", "sort_at"),
    Index(None, "code", "sort_at"),
    Index(None, "received_at"),
)

users = Table(
    "croneye_users",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("email", String(255), nullable=False),
    Column("password_hash", Text, nullable=False),
    Column("initial_hash", Text, nullable=False),  # of the password in the settings when it was last applied
)

settings = Table(
    "croneye_settings",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("project_name", Text),
)

TABLES = Tables("croneye", metadata, Path(__file__).with_name("versions"))
