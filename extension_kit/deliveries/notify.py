"""Notify: tells workers on PostgreSQL that there are deliveries to make, or events to file.

On SQLite they see every commit, and a bell rings for events.
"""

from typing import Any

from sqlalchemy import Connection

CHANNEL = "extension_kit_deliveries"
"""Channel of the notifications of deliveries."""

INBOX_CHANNEL = "extension_kit_inbox"
"""Channel of the notifications of events that are not filed yet."""

_NOTIFY = f"NOTIFY {CHANNEL}"


def notify_workers(connection: Connection) -> None:
    """Tell workers when the transaction of the connection is committed."""
    if connection.dialect.name != "sqlite":
        driver: Any = connection.connection.driver_connection  # past SQLAlchemy, because every event takes this path
        driver.execute(_NOTIFY)
