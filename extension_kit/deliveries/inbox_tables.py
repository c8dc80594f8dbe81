"""Tables of the inbox: on SQLite in a file of its own, on PostgreSQL beside the others."""

from sqlalchemy import Column, ForeignKey, Index, Integer, LargeBinary, String, Table, Text

from extension_kit.store.types import NUMBER, UtcDateTime, new_metadata

metadata = new_metadata()

inbox = Table(
    "inbox",
    metadata,
    Column("ref", NUMBER, primary_key=True, autoincrement=True),
    Column("received_at", UtcDateTime, nullable=False),
    Column("set_aside_at", UtcDateTime),  # when filing failed; null: not tried yet
    Column("events", Integer, nullable=False),  # their number
    Column("heads", Text, nullable=False),  # JSON, see inbox_rows.Head
    Column("bodies", LargeBinary, nullable=False),  # one behind the other
    # A worker that is about to end removes groups by number: later ones must have others.
    sqlite_autoincrement=True,
)

inbox_steps = Table(
    "inbox_steps",
    metadata,
    Column("run", String(255), primary_key=True),
    Column("step_id", String(255), primary_key=True),
    Column("body", LargeBinary, nullable=False),
    Column("inbox_ref", NUMBER, ForeignKey("inbox.ref", ondelete="CASCADE"), nullable=False),
    Index(None, "inbox_ref"),
)
