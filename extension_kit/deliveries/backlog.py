"""Backlog: the numbers of events to be filed and of waiting and due deliveries, the ages of the oldest, the workers."""

import os
from collections.abc import Collection
from contextlib import suppress
from datetime import UTC, datetime

from sqlalchemy import func, select

from extension_kit.deliveries.due import count_due
from extension_kit.deliveries.inbox import Inbox
from extension_kit.deliveries.tables import WAITING, deliveries, metadata
from extension_kit.deliveries.worker_rows import known_workers
from extension_kit.observability.metrics_page import Backlog, Room
from extension_kit.store.database import Database
from extension_kit.store.size import allocated_bytes
from extension_kit.store.types import UtcDateTime


def read_backlog(database: Database, inbox: Inbox, listeners: Collection[str], keep_megabytes: float) -> Backlog:
    """Count events that are not filed, waiting and due deliveries and workers, and take the ages in seconds.

    Args:
        database: the database.
        inbox: its inbox.
        listeners: keys of the loaded listeners.
        keep_megabytes: size limit of the database in MB (1,000,000 bytes).

    Raises:
        StoreError: the database cannot be used.
    """
    now = datetime.now(UTC)
    with database.read() as connection:
        waiting, oldest = connection.execute(_COUNT).one()
        due = tuple(count_due(connection, listeners, now))
        living = [worker for worker in known_workers(connection) if not worker.is_silent(now)]
        room = Room(allocated_bytes(connection, metadata), int(keep_megabytes * 1_000_000), _free_bytes(database))
    circuits = {circuit.receiver for worker in living for circuit in worker.open_circuits}
    unfiled, since = inbox.unfiled()
    return Backlog(waiting, _age(oldest), unfiled, _age(since), due, len(living), len(circuits), room)


def _age(oldest: datetime | None) -> float:
    return max((datetime.now(UTC) - oldest).total_seconds(), 0.0) if oldest else 0.0


def _free_bytes(database: Database) -> int | None:
    if database.is_sqlite:
        with suppress(OSError):
            disk = os.statvfs(database.path.parent)
            return disk.f_bavail * disk.f_frsize
    return None


_COUNT = select(func.count(), func.min(deliveries.c.created_at, type_=UtcDateTime())).where(
    deliveries.c.status == WAITING
)
