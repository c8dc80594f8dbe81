"""Notify: tells workers on PostgreSQL that there are deliveries to make; on SQLite they see every commit."""

from typing import Any

from sqlalchemy import Connection

CHANNEL = "extension_kit_deliveries"
"""Channel of the notifications."""

_NOTIFY = f"NOTIFY {CHANNEL}"


def notify_workers(connection: Connection) -> None:
    """Tell workers when the transaction of the connection is committed."""
    if connection.dialect.name != "sqlite":
        driver: Any = connection.connection.driver_connection  # past SQLAlchemy, because every event takes this path
        driver.execute(_NOTIFY)
