"""The inbox: events that were answered and not filed yet. On SQLite it is a file of its own."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        return
    op.create_table(
        "inbox",
        sa.Column("ref", sa.BigInteger, autoincrement=True, nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("set_aside_at", sa.DateTime(timezone=True)),
        sa.Column("events", sa.Integer, nullable=False),
        sa.Column("heads", sa.Text, nullable=False),
        sa.Column("bodies", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("ref", name="pk_inbox"),
    )
    op.create_table(
        "inbox_steps",
        sa.Column("run", sa.String(255), nullable=False),
        sa.Column("step_id", sa.String(255), nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("inbox_ref", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("run", "step_id", name="pk_inbox_steps"),
        sa.ForeignKeyConstraint(["inbox_ref"], ["inbox.ref"], name="fk_inbox_steps_inbox_ref", ondelete="CASCADE"),
    )
    op.create_index("ix_inbox_steps_inbox_ref", "inbox_steps", ["inbox_ref"])
