"""The tables. They are the truth: the engine's own table can be made from them at any time.

Times are aware and in UTC. Every table has a number of its own as key, called ``ref``, because ids from outside are as
long as their senders like.
"""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from extension_kit.store.types import UtcDateTime

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite gives numbers by itself to a key of type INTEGER only, and those of removed rows again without autoincrement.
_Ref = BigInteger().with_variant(Integer, "sqlite")

events = Table(
    "events",
    metadata,
    Column("ref", _Ref, primary_key=True, autoincrement=True),
    Column("source", String(255), nullable=False),
    Column("event_id", String(255), nullable=False),  # a hash where the sender's is longer
    Column("name", String(255), nullable=False),
    Column("subject", String(255)),
    Column("time", UtcDateTime),
    Column("received_at", UtcDateTime, nullable=False),
    Column("body", LargeBinary, nullable=False),
    UniqueConstraint("source", "event_id"),
    Index(None, "received_at"),
    sqlite_autoincrement=True,
)

series = Table(
    "series",
    metadata,
    Column("key", String(255), primary_key=True),
    Column("last_count", BigInteger, nullable=False),
    Column("last_at", UtcDateTime, nullable=False),
)

WAITING, DELIVERED, DEAD, DISCARDED = "waiting", "delivered", "dead", "discarded"
"""What becomes of a delivery: waiting for its next attempt (or in one), arrived, given up, thrown away by a person."""

deliveries = Table(
    "deliveries",
    metadata,
    Column("ref", _Ref, primary_key=True, autoincrement=True),
    Column("event_ref", _Ref, ForeignKey("events.ref", ondelete="CASCADE"), nullable=False),
    Column("listener", String(255), nullable=False),  # of a function, or "subscription:<ref>"
    Column("lock", String(520)),  # deliveries with the same lock are made one after the other; null: in any order
    Column("series", String(255)),
    Column("count", BigInteger),  # place in the series, from 1
    Column("status", String(16), nullable=False, default=WAITING),
    Column("attempts", Integer, nullable=False, default=0),
    Column("earlier", Integer, nullable=False, default=0),  # attempts before it was last replayed
    Column("created_at", UtcDateTime, nullable=False),
    Column("due_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime),
    Column("error", Text),
    UniqueConstraint("event_ref", "listener"),
    Index(None, "status", "due_at"),
    Index(None, "listener", "status"),
    sqlite_autoincrement=True,
)

attempts = Table(
    "attempts",
    metadata,
    Column("ref", _Ref, primary_key=True, autoincrement=True),
    Column("delivery_ref", _Ref, ForeignKey("deliveries.ref", ondelete="CASCADE"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime),  # null: in progress, or its worker died
    Column("result", String(16)),  # delivered, failed, refused, timeout, lost
    Column("error", Text),
    Column("status", Integer),
    Column("excerpt", Text),
    UniqueConstraint("delivery_ref", "number"),
    sqlite_autoincrement=True,
)

subscriptions = Table(
    "subscriptions",
    metadata,
    Column("ref", _Ref, primary_key=True, autoincrement=True),
    Column("protocol", String(64), nullable=False),  # the extension it was made with
    Column("name", String(255), nullable=False),
    Column("pattern", String(255), nullable=False),
    Column("subject", String(255)),  # null: any
    Column("sender", String(32), nullable=False),  # http, email, amqp
    Column("target", JSON, nullable=False),
    Column("retry", JSON(none_as_null=True)),  # seconds between attempts; null: the default
    Column("enabled", Boolean, nullable=False, default=True),
    Column("expires_at", UtcDateTime),
    Column("created_at", UtcDateTime, nullable=False),
    UniqueConstraint("protocol", "name"),
    Index(None, "pattern"),
    sqlite_autoincrement=True,
)

steps = Table(
    "steps",
    metadata,
    Column("run", String(255), primary_key=True),
    Column("step_id", String(255), primary_key=True),
    Column("body", LargeBinary, nullable=False),
    Column("seen_at", UtcDateTime, nullable=False),
    Index(None, "seen_at"),
)
