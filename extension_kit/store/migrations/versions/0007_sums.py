"""Sums in the state of extensions: numbers that their functions add to."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    # Sorted by its bytes, as SQLite does.
    collation = None if op.get_bind().dialect.name == "sqlite" else "C"
    op.create_table(
        "sums",
        sa.Column("extension", sa.String(255), nullable=False),
        sa.Column("key", sa.String(200, collation=collation), nullable=False),
        sa.Column("number", sa.Double, nullable=False),
        sa.Column("updated_at", _TIME, nullable=False),
        sa.Column("expires_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("extension", "key", name="pk_sums"),
    )
    op.create_index("ix_sums_expires_at", "sums", ["expires_at"])
