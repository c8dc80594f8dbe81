"""The event log: paused receivers, workers' signs of life, actions of people; ended deliveries by number."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "paused_receivers",
        sa.Column("listener", sa.String(255), nullable=False),
        sa.Column("paused_at", _TIME, nullable=False),
        sa.Column("paused_by", sa.String(255), nullable=False),
        sa.Column("resumed_at", _TIME),
        sa.PrimaryKeyConstraint("listener", name="pk_paused_receivers"),
    )
    op.create_table(
        "workers",
        sa.Column("key", sa.String(255), nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("started_at", _TIME, nullable=False),
        sa.Column("seen_at", _TIME, nullable=False),
        sa.Column("threads", sa.Integer, nullable=False),
        sa.Column("busy", sa.Integer, nullable=False),
        sa.Column("open_circuits", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_workers"),
    )
    op.create_table(
        "actions",
        sa.Column("ref", _BIG, autoincrement=True, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("made_by", sa.String(255), nullable=False),
        sa.Column("filter", sa.Text, nullable=False),
        sa.Column("expected", sa.BigInteger, nullable=False),
        sa.Column("changed", sa.BigInteger, nullable=False),
        sa.Column("skipped", sa.BigInteger, nullable=False),
        sa.Column("started_at", _TIME, nullable=False),
        sa.Column("seen_at", _TIME, nullable=False),
        sa.Column("ended_at", _TIME),
        sa.Column("error", sa.Text),
        sa.PrimaryKeyConstraint("ref", name="pk_actions"),
        sqlite_autoincrement=True,
    )
    op.drop_index("ix_deliveries_ended", "deliveries")
    ended = sa.text("status <> 'waiting'")
    op.create_index("ix_deliveries_ended", "deliveries", ["status", "ref"], sqlite_where=ended, postgresql_where=ended)
