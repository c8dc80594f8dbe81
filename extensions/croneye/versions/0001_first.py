"""Create the tables of version 1."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_REF = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "croneye_schedulers",
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("status_at", _TIME),
        sa.Column("seen_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_croneye_schedulers"),
    )

    op.create_table(
        "croneye_jobs",
        sa.Column("ref", _REF, autoincrement=True, nullable=False),
        sa.Column("scheduler", sa.String(255), nullable=False),
        sa.Column("job_id", sa.String(255), nullable=False),
        sa.Column("task", sa.Text),
        sa.Column("is_active", sa.Boolean, nullable=False),
        sa.Column("is_active_at", _TIME),
        sa.Column("next_run", _TIME),
        sa.Column("next_run_at", _TIME),
        sa.Column("overdue_for", _TIME),
        sa.Column("last_code", sa.Integer),
        sa.Column("last_at", _TIME),
        sa.Column("running_since", _TIME),
        sa.Column("seen_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("ref", name="pk_croneye_jobs"),
        sa.UniqueConstraint("job_id", "scheduler", name="uq_croneye_jobs_job_id_scheduler"),
    )
    op.create_index("ix_croneye_jobs_scheduler", "croneye_jobs", ["scheduler"])
    op.create_index("ix_croneye_jobs_is_active_next_run", "croneye_jobs", ["is_active", "next_run"])
    op.create_index("ix_croneye_jobs_seen_at", "croneye_jobs", ["seen_at"])

    op.create_table(
        "croneye_runs",
        sa.Column("ref", _REF, autoincrement=True, nullable=False),
        sa.Column("job_ref", _REF, nullable=False),
        sa.Column("due_at", _TIME),
        sa.Column("started_at", _TIME),
        sa.Column("ended_at", _TIME),
        sa.Column("ended_log", _REF),
        sa.Column("outcome", sa.String(16)),
        sa.Column("begun_at", _TIME, nullable=False),
        sa.Column("until", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("ref", name="pk_croneye_runs"),
        sa.ForeignKeyConstraint(["job_ref"], ["croneye_jobs.ref"], name="fk_croneye_runs_job_ref", ondelete="CASCADE"),
    )
    op.create_index("ix_croneye_runs_job_ref_due_at", "croneye_runs", ["job_ref", "due_at"])
    op.create_index("ix_croneye_runs_job_ref_started_at", "croneye_runs", ["job_ref", "started_at"])
    op.create_index("ix_croneye_runs_job_ref_until", "croneye_runs", ["job_ref", "until"])
    op.create_index("ix_croneye_runs_until", "croneye_runs", ["until"])
    op.create_index("ix_croneye_runs_begun_at", "croneye_runs", ["begun_at"])

    op.create_table(
        "croneye_log",
        sa.Column("ref", _REF, autoincrement=True, nullable=False),
        sa.Column("event_id", sa.String(64), nullable=False),
        sa.Column("code", sa.Integer, nullable=False),
        sa.Column("scheduler", sa.String(255), nullable=False),
        sa.Column("job_ref", _REF),
        sa.Column("time", _TIME),
        sa.Column("sort_at", _TIME, nullable=False),
        sa.Column("received_at", _TIME, nullable=False),
        sa.Column("next_run", _TIME),
        sa.Column("return_value", sa.Text),
        sa.Column("exception", sa.Text),
        sa.Column("traceback", sa.Text),
        sa.PrimaryKeyConstraint("ref", name="pk_croneye_log"),
        sa.UniqueConstraint("event_id", name="uq_croneye_log_event_id"),
        sa.ForeignKeyConstraint(["job_ref"], ["croneye_jobs.ref"], name="fk_croneye_log_job_ref", ondelete="CASCADE"),
    )
    op.create_index("ix_croneye_log_sort_at_ref", "croneye_log", ["sort_at", "ref"])
    op.create_index("ix_croneye_log_job_ref_sort_at", "croneye_log", ["job_ref", "sort_at"])
    op.create_index("ix_croneye_log_code_sort_at", "croneye_log", ["code", "sort_at"])
    op.create_index("ix_croneye_log_received_at", "croneye_log", ["received_at"])

    op.create_table(
        "croneye_users",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("email", sa.String(255), nullable=False),
        sa.Column("password_hash", sa.Text, nullable=False),
        sa.Column("initial_hash", sa.Text, nullable=False),
        sa.Column("token_key", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_croneye_users"),
    )

    op.create_table(
        "croneye_settings",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("project_name", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_croneye_settings"),
    )
