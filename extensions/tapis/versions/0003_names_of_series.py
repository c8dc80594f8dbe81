"""Add the names of series, and the times at which they began: for those that are there, that of their last event."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    for name in ("tenant", "source", "subject", "series_id"):
        op.add_column("tapis_series", sa.Column(name, sa.String(255)))
    op.add_column("tapis_series", sa.Column("began_at", sa.DateTime(timezone=True)))
    op.execute("UPDATE tapis_series SET began_at = updated")
    op.create_index("ix_tapis_series_began_at_key", "tapis_series", ["began_at", "key"])
