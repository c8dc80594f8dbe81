"""Backlog: the number of waiting deliveries and the age of the oldest."""

from datetime import UTC, datetime

from sqlalchemy import func, select

from extension_kit.deliveries.tables import WAITING, deliveries
from extension_kit.observability.metrics_page import Backlog
from extension_kit.store.database import Database
from extension_kit.store.types import UtcDateTime


def read_backlog(database: Database) -> Backlog:
    """Count the waiting deliveries, and take the age of the oldest in seconds.

    Raises:
        StoreError: the database cannot be used.
    """
    with database.read() as connection:
        waiting, oldest = connection.execute(_COUNT).one()
    return Backlog(waiting, (datetime.now(UTC) - oldest).total_seconds() if oldest else 0.0)


_COUNT = select(func.count(), func.min(deliveries.c.created_at, type_=UtcDateTime())).where(
    deliveries.c.status == WAITING
)
