"""Tables of the Tapis extension: subscriptions, series and test sequences.

A subscription here stands for a group of the kit's subscriptions, one for each of its delivery targets, which are made,
changed and removed with it. Times are aware and in UTC.
"""

from pathlib import Path

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from extension_kit.protocol import NUMBER, Tables, UtcDateTime, new_metadata

metadata = new_metadata()


def _text(longest: int) -> String:
    """Return the type of a text that both stores sort by code points, not by the rules of a language."""
    return String(longest).with_variant(String(longest, collation="C"), "postgresql")


subscriptions = Table(
    "tapis_subscriptions",
    metadata,
    Column("ref", NUMBER, primary_key=True, autoincrement=True),
    Column("tenant", _text(60), nullable=False),
    Column("owner", _text(60), nullable=False),
    Column("name", _text(188), nullable=False),
    Column("description", Text().with_variant(Text(collation="C"), "postgresql")),
    Column("enabled", Boolean, nullable=False),
    Column("type_filter", _text(128), nullable=False),
    Column("subject_filter", _text(150), nullable=False),
    Column("delivery_targets", JSON, nullable=False),
    Column("ttl_minutes", BigInteger, nullable=False),
    Column("uuid", _text(36), nullable=False, unique=True),
    Column("expiry", UtcDateTime),
    Column("ends_at", UtcDateTime),  # no events from this time on: the expiry, or the end of its subject
    Column("created", UtcDateTime, nullable=False),
    Column("updated", UtcDateTime, nullable=False),
    UniqueConstraint("tenant", "owner", "name"),
    Index(None, "tenant", "subject_filter"),
    Index(None, "ends_at"),
    sqlite_autoincrement=True,
)

series = Table(
    "tapis_series",
    metadata,
    Column("key", String(64), primary_key=True),  # of tenant, source, subject and series id, which may be long
    Column("seq_count", BigInteger, nullable=False),  # the count that the last event was given
    Column("updated", UtcDateTime, nullable=False),
    # Its names, shortened, for people; null: it began before these columns were there.
    Column("tenant", String(255)),
    Column("source", String(255)),
    Column("subject", String(255)),
    Column("series_id", String(255)),
    Column("began_at", UtcDateTime),
    Index(None, "began_at", "key"),
)

tests = Table(
    "tapis_tests",
    metadata,
    Column("name", String(36), primary_key=True),  # the name of its subscription
    Column("tenant", String(60), nullable=False),
    Column("owner", String(60), nullable=False),
    Column("user", String(60), nullable=False),  # the events are published for this user
    Column("start_count", Integer, nullable=False),  # number of events to publish
    Column("published", Integer, nullable=False),
    Column("next_at", UtcDateTime),  # when the next event is due; null: all are published
    Column("ends_series", Boolean, nullable=False),
    Column("keep_until", UtcDateTime),  # null: until it is deleted
    Column("created", UtcDateTime, nullable=False),
    Column("updated", UtcDateTime, nullable=False),
    Index(None, "next_at"),
    Index(None, "keep_until"),
)

test_notifications = Table(
    "tapis_test_notifications",
    metadata,
    Column("ref", NUMBER, primary_key=True, autoincrement=True),
    Column("test", String(36), ForeignKey("tapis_tests.name", ondelete="CASCADE"), nullable=False),
    Column("body", JSON, nullable=False),
    Index(None, "test"),
)

TABLES = Tables("tapis", metadata, Path(__file__).with_name("versions"))
