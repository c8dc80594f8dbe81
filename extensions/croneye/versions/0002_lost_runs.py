"""Add the columns of lost runs; remove the key of login tokens from the database."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("croneye_jobs", sa.Column("usual_seconds", sa.Float))
    op.add_column("croneye_jobs", sa.Column("lost_since", _TIME))
    op.add_column("croneye_runs", sa.Column("lost_from", _TIME))
    op.add_column("croneye_runs", sa.Column("lost_at", _TIME))
    op.create_index("ix_croneye_runs_lost_from", "croneye_runs", ["lost_from"])
    op.drop_column("croneye_users", "token_key")
