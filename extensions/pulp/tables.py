"""Tables of the Pulp extension: event listeners, and the event types that ``*`` stands for.

A listener stands for a group of the kit's subscriptions, one for each recipient, with the listener's id as its name.
"""

from pathlib import Path

from sqlalchemy import JSON, Column, Index, LargeBinary, String, Table

from extension_kit.protocol import NUMBER, Tables, UtcDateTime, new_metadata

metadata = new_metadata()

listeners = Table(
    "pulp_listeners",
    metadata,
    Column("ref", NUMBER, primary_key=True, autoincrement=True),  # the order of the list
    Column("id", String(24), nullable=False, unique=True),
    Column("notifier_type_id", String(16), nullable=False),
    Column("notifier_config", JSON, nullable=False),  # without its password
    Column("password", LargeBinary),  # the password of the configuration as JSON, encrypted
    Column("event_types", JSON, nullable=False),
    Column("recipient", String(64), nullable=False),  # hash of the notifier type and its recipients, for upserts
    Column("created_at", UtcDateTime, nullable=False),
    Index(None, "recipient"),
    sqlite_autoincrement=True,
)

known_types = Table(
    "pulp_event_types",
    metadata,
    Column("name", String(255), primary_key=True),
)

TABLES = Tables("pulp", metadata, Path(__file__).with_name("versions"))
