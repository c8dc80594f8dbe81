"""Create the tables of version 1."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_REF = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_TIME = sa.DateTime(timezone=True)


def _text(longest: int) -> sa.String:
    return sa.String(longest).with_variant(sa.String(longest, collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "tapis_subscriptions",
        sa.Column("ref", _REF, autoincrement=True, nullable=False),
        sa.Column("tenant", _text(60), nullable=False),
        sa.Column("owner", _text(60), nullable=False),
        sa.Column("name", _text(188), nullable=False),
        sa.Column("description", sa.Text().with_variant(sa.Text(collation="C"), "postgresql")),
        sa.Column("enabled", sa.Boolean, nullable=False),
        sa.Column("type_filter", _text(128), nullable=False),
        sa.Column("subject_filter", _text(150), nullable=False),
        sa.Column("delivery_targets", sa.JSON, nullable=False),
        sa.Column("targets", sa.JSON, nullable=False),
        sa.Column("ttl_minutes", sa.BigInteger, nullable=False),
        sa.Column("uuid", _text(36), nullable=False),
        sa.Column("expiry", _TIME),
        sa.Column("ends_at", _TIME),
        sa.Column("created", _TIME, nullable=False),
        sa.Column("updated", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("ref", name="pk_tapis_subscriptions"),
        sa.UniqueConstraint("uuid", name="uq_tapis_subscriptions_uuid"),
        sa.UniqueConstraint("tenant", "owner", "name", name="uq_tapis_subscriptions_tenant_owner_name"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_tapis_subscriptions_tenant_subject_filter", "tapis_subscriptions", ["tenant", "subject_filter"])
    op.create_index("ix_tapis_subscriptions_ends_at", "tapis_subscriptions", ["ends_at"])

    op.create_table(
        "tapis_series",
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("seq_count", sa.BigInteger, nullable=False),
        sa.Column("updated", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_tapis_series"),
    )

    op.create_table(
        "tapis_tests",
        sa.Column("name", sa.String(36), nullable=False),
        sa.Column("tenant", sa.String(60), nullable=False),
        sa.Column("owner", sa.String(60), nullable=False),
        sa.Column("user", sa.String(60), nullable=False),
        sa.Column("start_count", sa.Integer, nullable=False),
        sa.Column("published", sa.Integer, nullable=False),
        sa.Column("next_at", _TIME),
        sa.Column("ends_series", sa.Boolean, nullable=False),
        sa.Column("keep_until", _TIME),
        sa.Column("created", _TIME, nullable=False),
        sa.Column("updated", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_tapis_tests"),
    )
    op.create_index("ix_tapis_tests_next_at", "tapis_tests", ["next_at"])
    op.create_index("ix_tapis_tests_keep_until", "tapis_tests", ["keep_until"])

    op.create_table(
        "tapis_test_notifications",
        sa.Column("ref", _REF, autoincrement=True, nullable=False),
        sa.Column("test", sa.String(36), nullable=False),
        sa.Column("body", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("ref", name="pk_tapis_test_notifications"),
        sa.ForeignKeyConstraint(
            ["test"], ["tapis_tests.name"], name="fk_tapis_test_notifications_test", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_tapis_test_notifications_test", "tapis_test_notifications", ["test"])
