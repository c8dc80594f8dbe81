"""Tables of events, deliveries, attempts and subscriptions; the engine's own table can be rebuilt from them.

Times are aware and in UTC. Events, deliveries, attempts and subscriptions are known to others by a number of their own,
``ref``. Texts from outside have any length; they are stored and looked up as ``bounded`` shortens them.
"""

from hashlib import blake2b

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from extension_kit.store.types import NUMBER, UtcDateTime, new_metadata

metadata = new_metadata()

_LONGEST = 255


def bounded(text: str) -> str:
    """Shorten a text from outside to the length of a column, so that different texts stay different.

    A NUL character is replaced, because PostgreSQL does not store it.
    """
    if len(text) <= _LONGEST and "\x00" not in text:
        return text
    return f"{text[:180]}#{blake2b(text.encode(), digest_size=32).hexdigest()}".replace("\x00", "\ufffd")


events = Table(
    "events",
    metadata,
    Column("ref", NUMBER, primary_key=True, autoincrement=True),
    Column("source", String(255), nullable=False),
    Column("event_id", String(255), nullable=False),
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
    Column("last_count", BigInteger, nullable=False),  # place of the last event
    Column("last_at", UtcDateTime, nullable=False),
)

WAITING, DELIVERED, DEAD, DISCARDED = "waiting", "delivered", "dead", "discarded"
"""States of a delivery: waiting for its next attempt (or in one), delivered, given up, discarded by a user."""

deliveries = Table(
    "deliveries",
    metadata,
    Column("ref", NUMBER, primary_key=True, autoincrement=True),
    Column("event_ref", NUMBER, ForeignKey("events.ref", ondelete="CASCADE"), nullable=False),
    Column("listener", String(255), nullable=False),  # of a function, or "subscription:<ref>"
    Column("lock", String(520)),  # deliveries with the same lock are made one after the other; null: in any order
    Column("series", String(255)),
    Column("count", BigInteger),  # the event's place in the series, from 1
    Column("status", String(16), nullable=False, default=WAITING),
    Column("attempts", Integer, nullable=False, default=0),
    Column("earlier", Integer, nullable=False, default=0),  # attempts that do not count: handed back, before a replay
    Column("created_at", UtcDateTime, nullable=False),
    Column("due_at", UtcDateTime, nullable=False),  # of the next attempt, or once it has ended of the last
    Column("begun_at", UtcDateTime),  # when it was first to be attempted, since it was last replayed; null: not yet
    Column("ended_at", UtcDateTime),  # null: waiting
    Column("error", Text),  # of the last attempt
    UniqueConstraint("event_ref", "listener"),
    Index(None, "status", "due_at"),
    Index(None, "listener", "status"),
    sqlite_autoincrement=True,
)

attempts = Table(
    "attempts",
    metadata,
    Column("ref", NUMBER, primary_key=True, autoincrement=True),
    Column("delivery_ref", NUMBER, ForeignKey("deliveries.ref", ondelete="CASCADE"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime),  # null: in progress, or its worker died
    Column("result", String(16)),  # delivered, failed, refused, lost, handed back
    Column("error", Text),
    Column("status", Integer),
    Column("excerpt", Text),
    UniqueConstraint("delivery_ref", "number"),
    sqlite_autoincrement=True,
)

subscriptions = Table(
    "subscriptions",
    metadata,
    Column("ref", NUMBER, primary_key=True, autoincrement=True),
    Column("protocol", String(64), nullable=False),  # source of the event protocol that made it
    Column("name", String(255), nullable=False),
    Column("group", String(255)),  # changed and removed together; null: no group
    Column("subject", String(255)),  # null: any
    Column("scope", String(255), nullable=False, default="", server_default=""),  # tenant of the events; empty: any
    Column("sender", String(32), nullable=False),  # http, email, amqp
    Column("target", JSON, nullable=False),
    Column("retry", JSON(none_as_null=True)),  # seconds between attempts; null: the default
    Column("enabled", Boolean, nullable=False, default=True),
    Column("expires_at", UtcDateTime),
    Column("created_at", UtcDateTime, nullable=False),
    UniqueConstraint("protocol", "name"),
    Index(None, "protocol", "group"),
    sqlite_autoincrement=True,
)

# Subject and scope are repeated here, so that one index finds the subscriptions of an event.
subscription_patterns = Table(
    "subscription_patterns",
    metadata,
    Column("subscription_ref", NUMBER, ForeignKey("subscriptions.ref", ondelete="CASCADE"), primary_key=True),
    Column("pattern", String(255), primary_key=True),
    Column("subject", String(255)),
    Column("scope", String(255), nullable=False),
    Index(None, "pattern", "subject", "scope"),
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
