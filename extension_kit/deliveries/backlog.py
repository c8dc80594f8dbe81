"""Backlog: the numbers of events to be filed and of waiting deliveries, and the ages of the oldest."""

from datetime import UTC, datetime

from sqlalchemy import func, select

from extension_kit.deliveries.inbox import Inbox
from extension_kit.deliveries.tables import WAITING, deliveries
from extension_kit.observability.metrics_page import Backlog
from extension_kit.store.database import Database
from extension_kit.store.types import UtcDateTime


def read_backlog(database: Database, inbox: Inbox) -> Backlog:
    """Count events that are not filed and waiting deliveries, and take the ages of the oldest in seconds.

    Raises:
        StoreError: the database cannot be used.
    """
    with database.read() as connection:
        waiting, oldest = connection.execute(_COUNT).one()
    unfiled, since = inbox.unfiled()
    return Backlog(waiting, _age(oldest), unfiled, _age(since))


def _age(oldest: datetime | None) -> float:
    return max((datetime.now(UTC) - oldest).total_seconds(), 0.0) if oldest else 0.0


_COUNT = select(func.count(), func.min(deliveries.c.created_at, type_=UtcDateTime())).where(
    deliveries.c.status == WAITING
)
