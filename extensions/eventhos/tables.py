"""Tables of the eventhos extension: systems, their clients and keys, events, actions, contracts, and the event log."""

from pathlib import Path
from typing import Any

from sqlalchemy import JSON, Boolean, Column, Float, ForeignKey, Index, LargeBinary, String, Table, Text, text

from extension_kit.protocol import NUMBER, Tables, UtcDateTime, new_metadata

metadata = new_metadata()

CLASSES = ("producer", "consumer", "hybrid")
"""Classes of systems: those that send events, those that actions call, and both."""

LARGEST_ID = 2**63 - 1
"""Largest number of a row that every database takes."""

PROCESSED, ERROR = "processed", "error"
"""States of an execution that has ended."""


def _times() -> tuple[Column[object], Column[object]]:
    return Column("created_at", UtcDateTime, nullable=False), Column("updated_at", UtcDateTime, nullable=False)


def _row_id() -> Column[object]:
    return Column("id", NUMBER, primary_key=True, autoincrement=True)


def _deleted() -> Column[object]:
    """Rows that were deleted stay, because the event log names them."""
    return Column("deleted", Boolean, nullable=False, default=False)


def _where(condition: str) -> dict[str, Any]:
    """Return the arguments of an index for the rows that meet a condition."""
    return {"postgresql_where": text(condition), "sqlite_where": text(condition)}


clients = Table(
    "eventhos_clients",
    metadata,
    _row_id(),
    Column("identifier", String(100), nullable=False),
    Column("client_id", String(100), nullable=False, unique=True),
    Column("name", String(100), nullable=False, default=""),
    Column("description", Text, nullable=False, default=""),
    Column("secret", LargeBinary, nullable=False),  # encrypted, because administrators may read it
    Column("permissions", JSON, nullable=False),
    Column("revoked", Boolean, nullable=False, default=False),
    _deleted(),
    *_times(),
    sqlite_autoincrement=True,
)

keys = Table(
    "eventhos_keys",
    metadata,
    _row_id(),
    Column("client", NUMBER, ForeignKey(clients.c.id), nullable=False, index=True),
    Column("hash", String(64), nullable=False, unique=True),  # SHA-256 of the whole key
    Column("expires_at", UtcDateTime),
    Column("revoked_at", UtcDateTime),
    Column("created_at", UtcDateTime, nullable=False),
    sqlite_autoincrement=True,
)

failed_logins = Table(
    "eventhos_failed_logins",
    metadata,
    Column("name", String(64), primary_key=True),  # SHA-256 of what was tried, and where from
    Column("times", NUMBER, nullable=False),
    Column("last_at", UtcDateTime, nullable=False),
)

systems = Table(
    "eventhos_systems",
    metadata,
    _row_id(),
    Column("class", String(16), nullable=False),
    Column("identifier", String(100), nullable=False, unique=True),
    Column("name", String(100), nullable=False),
    Column("type", String(45), nullable=False, default=""),
    Column("description", Text, nullable=False, default=""),
    Column("client", NUMBER, ForeignKey(clients.c.id), unique=True),
    _deleted(),
    *_times(),
    sqlite_autoincrement=True,
)

events = Table(
    "eventhos_events",
    metadata,
    _row_id(),
    Column("system", NUMBER, ForeignKey(systems.c.id), nullable=False, index=True),
    Column("identifier", String(100), nullable=False, unique=True),
    Column("name", String(100), nullable=False),
    Column("operation", String(25), nullable=False, default=""),
    Column("description", Text, nullable=False, default=""),
    Column("subscription", NUMBER, unique=True),  # of an event of this server: ref of the kit's that starts it
    _deleted(),
    *_times(),
    sqlite_autoincrement=True,
)

actions = Table(
    "eventhos_actions",
    metadata,
    _row_id(),
    Column("system", NUMBER, ForeignKey(systems.c.id), nullable=False, index=True),
    Column("identifier", String(100), nullable=False, unique=True),
    Column("name", String(100), nullable=False),
    Column("operation", String(25), nullable=False, default=""),
    Column("description", Text, nullable=False, default=""),
    Column("request", LargeBinary, nullable=False),  # its template, encrypted
    Column("security", LargeBinary),  # URL and credentials of the token endpoint, encrypted
    Column("reply_to", String(100)),
    _deleted(),
    *_times(),
    sqlite_autoincrement=True,
)

contracts = Table(
    "eventhos_contracts",
    metadata,
    _row_id(),
    Column("event", NUMBER, ForeignKey(events.c.id), nullable=False, index=True),
    Column("action", NUMBER, ForeignKey(actions.c.id), nullable=False, index=True),
    Column("identifier", String(100), nullable=False, unique=True),
    Column("name", String(200), nullable=False),
    Column("active", Boolean, nullable=False, default=True),
    Column("order", NUMBER, nullable=False, default=0),
    Column("stop_on_error", Boolean, nullable=False, default=False),
    Column("in_order", Boolean, nullable=False, default=False),
    Column("subscription", NUMBER, unique=True),  # ref of the kit's, whose attempts make its calls; null: removed
    Column("retry", JSON),  # seconds between attempts; null: as the settings say
    Column("mail_recipients", String(200), nullable=False, default=""),
    _deleted(),
    *_times(),
    sqlite_autoincrement=True,
)

# Triggers of the clients, keys, systems, events and contracts write another text at the commit of each change of them:
# whoever keeps their rows in memory sees that they have changed.
changes = Table(
    "eventhos_changes",
    metadata,
    Column("id", NUMBER, primary_key=True, autoincrement=False),
    Column("version", String(36), nullable=False),
)

# Rows of the log have no foreign keys: each new row would look up and lock others. Events and contracts are never
# removed, and an execution is added in the transaction of its event and removed before it.
received = Table(
    "eventhos_received",
    metadata,
    _row_id(),
    Column("event", NUMBER, nullable=False),
    Column("request", LargeBinary, nullable=False),  # headers, query, body, method and URL without the key, encrypted
    Column("idempotency_key", String(64)),  # hash of the key with the event
    Column("cause", NUMBER),  # the execution that this event replies to
    Column("depth", NUMBER, nullable=False, default=0),  # the number of replies before it
    Column("root", NUMBER),  # the event that the chain of replies began with; null: it is no reply
    Column("retry_of", NUMBER),  # the execution that this event retries
    Column("received_at", UtcDateTime, nullable=False),
    # Pages of the log are found in these, without the long rows.
    Index(None, "event", "id"),
    Index(None, "id", "received_at"),
    Index(None, "received_at", "id"),
    # Few events have one: the others need no entry in these.
    Index(None, "idempotency_key", unique=True, **_where("idempotency_key IS NOT NULL")),
    Index(None, "root", **_where("root IS NOT NULL")),
    sqlite_autoincrement=True,
)

executions = Table(
    "eventhos_executions",
    metadata,
    _row_id(),
    Column("received", NUMBER, nullable=False),
    Column("contract", NUMBER, nullable=False),
    Column("order", NUMBER, nullable=False),
    Column("state", String(16)),  # null until it has ended
    Column("started_at", UtcDateTime),  # null until its group begins
    Column("run", NUMBER),  # number of the kit's event that starts it
    Column("attempts", NUMBER, nullable=False, default=0),  # calls that were made
    Column("retried", Boolean, nullable=False, default=False),
    Column("aborted", Boolean, nullable=False, default=False),
    Column("request", LargeBinary),  # as it was sent, encrypted
    Column("response", LargeBinary),  # encrypted
    Column("seconds", Float),
    Column("ended_at", UtcDateTime),
    Index(None, "received", "contract", unique=True),
    # Those that have ended are found by filters, those that have not by their contract: each is in one of these.
    Index(None, "state", "aborted", "retried", "received", "contract", **_where("state IS NOT NULL")),
    Index(None, "contract", "id", **_where("state IS NULL")),
    sqlite_autoincrement=True,
)

error_mails = Table(
    "eventhos_error_mails",
    metadata,
    Column("contract", NUMBER, ForeignKey(contracts.c.id), primary_key=True, autoincrement=False),
    Column("sent_at", UtcDateTime, nullable=False),
    Column("left_out", NUMBER, nullable=False),  # errors since then
)

TABLES = Tables("eventhos", metadata, Path(__file__).with_name("versions"))
