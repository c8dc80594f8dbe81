"""Trace context of events: their attempts continue the trace in which they were received."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.add_column("events", sa.Column("trace_context", sa.Text))
