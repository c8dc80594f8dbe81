"""The state of extensions: keys and values that their functions keep."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    # Sorted by its bytes, as SQLite does.
    collation = None if op.get_bind().dialect.name == "sqlite" else "C"
    op.create_table(
        "state",
        sa.Column("extension", sa.String(255), nullable=False),
        sa.Column("key", sa.String(200, collation=collation), nullable=False),
        sa.Column("value", sa.LargeBinary, nullable=False),
        sa.Column("updated_at", _TIME, nullable=False),
        sa.Column("expires_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("extension", "key", name="pk_state"),
    )
    op.create_index("ix_state_expires_at", "state", ["expires_at"])
