"""A subscription has several patterns, and may belong to a group."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_REF = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "subscription_patterns",
        sa.Column("subscription_ref", _REF, nullable=False),
        sa.Column("pattern", sa.String(255), nullable=False),
        sa.Column("subject", sa.String(255)),
        sa.Column("scope", sa.String(255), nullable=False),
        sa.PrimaryKeyConstraint("subscription_ref", "pattern", name="pk_subscription_patterns"),
        sa.ForeignKeyConstraint(
            ["subscription_ref"],
            ["subscriptions.ref"],
            name="fk_subscription_patterns_subscription_ref",
            ondelete="CASCADE",
        ),
    )
    op.execute(
        "INSERT INTO subscription_patterns (subscription_ref, pattern, subject, scope)"
        " SELECT ref, pattern, subject, scope FROM subscriptions"
    )
    op.create_index(
        "ix_subscription_patterns_pattern_subject_scope", "subscription_patterns", ["pattern", "subject", "scope"]
    )
    op.drop_index("ix_subscriptions_pattern_subject_scope", "subscriptions")
    op.drop_column("subscriptions", "pattern")
    op.add_column("subscriptions", sa.Column("group", sa.String(255)))
    op.create_index("ix_subscriptions_protocol_group", "subscriptions", ["protocol", "group"])
