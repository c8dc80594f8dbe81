"""The first tables.

On SQLite the refs of removed rows are not reused (``sqlite_autoincrement``), as on PostgreSQL: receivers outside
recognise repeated messages by them.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_REF = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "events",
        sa.Column("ref", _REF, autoincrement=True, nullable=False),
        sa.Column("source", sa.String(255), nullable=False),
        sa.Column("event_id", sa.String(255), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("subject", sa.String(255)),
        sa.Column("time", _TIME),
        sa.Column("received_at", _TIME, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("ref", name="pk_events"),
        sa.UniqueConstraint("source", "event_id", name="uq_events_source_event_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_events_received_at", "events", ["received_at"])

    op.create_table(
        "series",
        sa.Column("key", sa.String(255), nullable=False),
        sa.Column("last_count", sa.BigInteger, nullable=False),
        sa.Column("last_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_series"),
    )

    op.create_table(
        "deliveries",
        sa.Column("ref", _REF, autoincrement=True, nullable=False),
        sa.Column("event_ref", _REF, nullable=False),
        sa.Column("listener", sa.String(255), nullable=False),
        sa.Column("lock", sa.String(520)),
        sa.Column("series", sa.String(255)),
        sa.Column("count", sa.BigInteger),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("earlier", sa.Integer, nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("due_at", _TIME, nullable=False),
        sa.Column("begun_at", _TIME),
        sa.Column("ended_at", _TIME),
        sa.Column("error", sa.Text),
        sa.PrimaryKeyConstraint("ref", name="pk_deliveries"),
        sa.ForeignKeyConstraint(["event_ref"], ["events.ref"], name="fk_deliveries_event_ref", ondelete="CASCADE"),
        sa.UniqueConstraint("event_ref", "listener", name="uq_deliveries_event_ref_listener"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_deliveries_status_due_at", "deliveries", ["status", "due_at"])
    op.create_index("ix_deliveries_listener_status", "deliveries", ["listener", "status"])

    op.create_table(
        "attempts",
        sa.Column("ref", _REF, autoincrement=True, nullable=False),
        sa.Column("delivery_ref", _REF, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("started_at", _TIME, nullable=False),
        sa.Column("ended_at", _TIME),
        sa.Column("result", sa.String(16)),
        sa.Column("error", sa.Text),
        sa.Column("status", sa.Integer),
        sa.Column("excerpt", sa.Text),
        sa.PrimaryKeyConstraint("ref", name="pk_attempts"),
        sa.ForeignKeyConstraint(
            ["delivery_ref"], ["deliveries.ref"], name="fk_attempts_delivery_ref", ondelete="CASCADE"
        ),
        sa.UniqueConstraint("delivery_ref", "number", name="uq_attempts_delivery_ref_number"),
        sqlite_autoincrement=True,
    )

    op.create_table(
        "subscriptions",
        sa.Column("ref", _REF, autoincrement=True, nullable=False),
        sa.Column("protocol", sa.String(64), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("pattern", sa.String(255), nullable=False),
        sa.Column("subject", sa.String(255)),
        sa.Column("scope", sa.String(255), nullable=False, server_default=""),
        sa.Column("sender", sa.String(32), nullable=False),
        sa.Column("target", sa.JSON, nullable=False),
        sa.Column("retry", sa.JSON),
        sa.Column("enabled", sa.Boolean, nullable=False),
        sa.Column("expires_at", _TIME),
        sa.Column("created_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("ref", name="pk_subscriptions"),
        sa.UniqueConstraint("protocol", "name", name="uq_subscriptions_protocol_name"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_subscriptions_pattern_subject_scope", "subscriptions", ["pattern", "subject", "scope"])

    op.create_table(
        "steps",
        sa.Column("run", sa.String(255), nullable=False),
        sa.Column("step_id", sa.String(255), nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("seen_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("run", "step_id", name="pk_steps"),
    )
    op.create_index("ix_steps_seen_at", "steps", ["seen_at"])
