"""Tables of events, deliveries, attempts and subscriptions. The deliveries that wait are the queue of the workers.

Times are aware and in UTC. Events, deliveries, attempts and subscriptions are known to others by a number of their own,
``ref``. Texts from outside have any length; they are stored and looked up as ``bounded`` shortens them.

Some columns have a clearer name in Python (``key=``) than in the database; ``DELIVERY_COLUMNS`` gives it to rows, too.
"""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, TypeVar

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from extension_kit.store.types import NUMBER, UtcDateTime, new_metadata

metadata = new_metadata()

_LONGEST = 255

Bounded = TypeVar("Bounded", str, str | None)


def bounded(text: str) -> str:
    """Shorten a text from outside to the length of a column, so that different texts stay different.

    A NUL character is replaced, because PostgreSQL does not store it.
    """
    if len(text) <= _LONGEST and "\x00" not in text:
        return text
    return f"{text[:180]}#{blake2b(text.encode(), digest_size=32).hexdigest()}".replace("\x00", "\ufffd")


def all_bounded(texts: Sequence[Bounded]) -> Sequence[Bounded]:
    """Shorten texts as ``bounded`` does; None stays. Nearly always all are short, which takes one look."""
    given = list(filter(None, texts))
    if not given or (max(map(len, given)) <= _LONGEST and "\x00" not in "".join(given)):
        return texts
    return [text and bounded(text) for text in texts]


def _index(name: str, where: str, *columns: str) -> Index:
    """Return an index of deliveries that holds only some of them."""
    return Index(f"ix_deliveries_{name}", *columns, sqlite_where=text(where), postgresql_where=text(where))


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
    Column("trace_context", Text),  # headers of W3C Trace Context: traceparent, and tracestate behind a blank
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

READY, LATER, BEHIND, CLAIMED = "ready", "later", "behind", "claimed"
"""Stages of a waiting delivery: to be claimed by a worker, not due yet, behind another with its lock, claimed."""

deliveries = Table(
    "deliveries",
    metadata,
    Column("ref", NUMBER, primary_key=True, autoincrement=True),
    Column("event_ref", NUMBER, ForeignKey("events.ref", ondelete="CASCADE"), nullable=False),
    # Of a function, or "subscription:<ref>". Sorted by its bytes everywhere, so that one index finds the next listener.
    Column("listener", String(255).with_variant(String(255, collation="C"), "postgresql"), nullable=False),
    Column("lock", String(520)),  # deliveries with the same lock are made one after the other; null: in any order
    Column("series", String(255)),
    Column("count", BigInteger, key="place"),  # of the event in its series, from 1
    Column("status", String(16), nullable=False, default=WAITING),
    Column("attempts", Integer, nullable=False, default=0),
    # Attempts that do not count: handed back, of a function that was not ready, or before a replay.
    Column("earlier", Integer, key="uncounted_attempts", nullable=False, default=0),
    Column("created_at", UtcDateTime, nullable=False),
    Column("due_at", UtcDateTime, nullable=False),  # of the next attempt, or once it has ended of the last
    # When it was first to be attempted since it was last replayed; null: not yet.
    Column("begun_at", UtcDateTime, key="first_attempt_at"),
    Column("ended_at", UtcDateTime),  # null: waiting
    Column("error", Text),  # of the last attempt
    Column("shard", Integer, nullable=False, default=0),  # one process at a time makes the deliveries of a shard
    Column("stage", String(8), default=READY),  # null: ended
    Column("claimed_at", UtcDateTime),  # with the stage "claimed"; tells one claim of a delivery from another
    Column("losses", Integer, nullable=False, default=0),  # claims in a row whose process died
    UniqueConstraint("event_ref", "listener"),
    Index(None, "listener", "status"),
    _index("ready", "stage = 'ready'", "listener", "shard", "ref"),
    _index("later", "stage = 'later'", "shard", "due_at"),
    _index("claimed", "stage = 'claimed'", "shard"),
    _index("line", "status = 'waiting'", "lock", "ref"),
    _index("ended", "status <> 'waiting'", "status", "ref"),
    sqlite_autoincrement=True,
)

DELIVERY_COLUMNS: tuple[ColumnElement[Any], ...] = tuple(column.label(column.key) for column in deliveries.c)
"""Columns of deliveries to select, so that rows have their Python names."""

attempts = Table(
    "attempts",
    metadata,
    Column("ref", NUMBER, primary_key=True, autoincrement=True),
    Column("delivery_ref", NUMBER, ForeignKey("deliveries.ref", ondelete="CASCADE"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime),
    Column("result", String(16)),  # delivered, failed, refused, not ready, lost, handed back
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
    Column("sender", String(32), nullable=False),  # http, email, amqp, nats
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

# Keys are sorted by their bytes everywhere, so that one index finds those with a prefix.
state = Table(
    "state",
    metadata,
    Column("extension", String(255), primary_key=True),
    Column("key", String(200).with_variant(String(200, collation="C"), "postgresql"), primary_key=True),
    Column("value", LargeBinary, nullable=False),  # JSON
    Column("updated_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Index(None, "expires_at"),
)

sums = Table(
    "sums",
    metadata,
    Column("extension", String(255), primary_key=True),
    Column("key", String(200).with_variant(String(200, collation="C"), "postgresql"), primary_key=True),
    Column("number", Double, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Index(None, "expires_at"),
)

paused_receivers = Table(
    "paused_receivers",
    metadata,
    Column("listener", String(255), primary_key=True),  # key of a function, or "subscription:<ref>"
    Column("paused_at", UtcDateTime, nullable=False),
    Column("paused_by", String(255), nullable=False),
    # Null: it is paused. Else the row is kept as long as a delivery waits that was attempted before.
    Column("resumed_at", UtcDateTime),
)

workers = Table(
    "workers",
    metadata,
    Column("key", String(255), primary_key=True),  # of a process, chosen at its start
    Column("host", String(255), nullable=False),
    Column("pid", Integer, nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("seen_at", UtcDateTime, nullable=False),  # last sign of life
    Column("threads", Integer, nullable=False),
    Column("busy", Integer, nullable=False),  # threads in use
    # Objects with the key or host of a receiver whose circuit breaker is open, and the time until which it is.
    Column("open_circuits", JSON, nullable=False),
)

actions = Table(
    "actions",
    metadata,
    Column("ref", NUMBER, primary_key=True, autoincrement=True),
    Column("kind", String(16), nullable=False),  # replay, discard, retry now, pause, resume
    Column("made_by", String(255), nullable=False),  # name of a person, or of the command line
    Column("filter", Text, nullable=False),  # of the deliveries, as in the address of the page; or a receiver
    Column("expected", BigInteger, nullable=False),  # deliveries that matched at the beginning
    Column("changed", BigInteger, nullable=False),  # so far
    Column("skipped", BigInteger, nullable=False),  # because they had changed meanwhile
    Column("started_at", UtcDateTime, nullable=False),
    Column("seen_at", UtcDateTime, nullable=False),  # last sign of life
    Column("ended_at", UtcDateTime),  # null: going on, unless the process has died
    Column("error", Text),  # why it ended early
    sqlite_autoincrement=True,
)
