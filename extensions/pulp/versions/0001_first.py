"""Create the tables of version 1."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_REF = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "pulp_listeners",
        sa.Column("ref", _REF, autoincrement=True, nullable=False),
        sa.Column("id", sa.String(24), nullable=False),
        sa.Column("notifier_type_id", sa.String(16), nullable=False),
        sa.Column("notifier_config", sa.JSON, nullable=False),
        sa.Column("password", sa.LargeBinary),
        sa.Column("event_types", sa.JSON, nullable=False),
        sa.Column("recipient", sa.String(64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("ref", name="pk_pulp_listeners"),
        sa.UniqueConstraint("id", name="uq_pulp_listeners_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_pulp_listeners_recipient", "pulp_listeners", ["recipient"])
    op.create_table(
        "pulp_event_types",
        sa.Column("name", sa.String(255), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_pulp_event_types"),
    )
