"""Notify: tells workers on PostgreSQL that there are deliveries to make; on SQLite they see every commit."""

from sqlalchemy import Connection, text

CHANNEL = "extension_kit_deliveries"
"""Channel of the notifications."""

_NOTIFY = text(f"NOTIFY {CHANNEL}")


def notify_workers(connection: Connection) -> None:
    """Tell workers when the transaction of the connection is committed."""
    if connection.dialect.name != "sqlite":
        connection.execute(_NOTIFY)
