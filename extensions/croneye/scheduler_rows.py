"""Rows of schedulers: the changes of them by the events of a transaction, written together."""

from datetime import datetime

from sqlalchemy import Connection

from extension_kit.protocol import BulkInsert, driver_time

from .codes import Code
from .tables import ACTIVE, PAUSED, SHUTDOWN, schedulers

STATUSES = {
    Code.SCHEDULER_STARTED: ACTIVE,
    Code.SCHEDULER_RESUMED: ACTIVE,
    Code.SCHEDULER_PAUSED: PAUSED,
    Code.SCHEDULER_SHUTDOWN: SHUTDOWN,
}


class _Change:
    """The change of a scheduler: when it was seen last; its last status by the time of the events, if they say one."""

    __slots__ = ("at", "seen_at", "status")

    def __init__(self, seen_at: datetime) -> None:
        self.status = ACTIVE  # of a new one: it, or a job of it, sends events
        self.at: datetime | None = None
        self.seen_at = seen_at


class SchedulerRows:
    """Changes of schedulers; an unknown one is added."""

    def __init__(self) -> None:
        self._changes: dict[str, _Change] = {}

    def see(self, name: str, now: datetime) -> None:
        """Note that an event has named a scheduler.

        Args:
            name: of the scheduler.
            now: when the event arrived, aware.
        """
        self._changes.setdefault(name, _Change(now)).seen_at = now

    def set_status(self, name: str, code: Code, at: datetime) -> None:
        """Note the status of a scheduler that was seen, unless a later event has said another one.

        Args:
            name: of the scheduler.
            code: of the event, one of ``SCHEDULER``.
            at: the time of the event.
        """
        change = self._changes[name]
        if change.at is None or change.at <= at:
            change.status, change.at = STATUSES[code], at

    def write(self, connection: Connection) -> None:
        """Write the changes. The rows are locked in the order of their names, until the commit."""
        is_sqlite = connection.dialect.name == "sqlite"

        rows = [
            (
                name,
                change.status,
                None if change.at is None else driver_time(change.at, is_sqlite=is_sqlite),
                driver_time(change.seen_at, is_sqlite=is_sqlite),
            )
            for name, change in sorted(self._changes.items())
        ]
        if rows:
            _WRITE.add(connection, rows)


_IS_NOT_LATER = (
    f"excluded.status_at IS NOT NULL AND"
    f" ({schedulers.name}.status_at IS NULL OR {schedulers.name}.status_at <= excluded.status_at)"
)
_WRITE = BulkInsert(
    schedulers.name,
    {"name": "text", "status": "text", "status_at": "timestamptz", "seen_at": "timestamptz"},
    "ON CONFLICT (name) DO UPDATE SET seen_at = excluded.seen_at, "
    + ", ".join(
        f"{name} = CASE WHEN {_IS_NOT_LATER} THEN excluded.{name} ELSE {schedulers.name}.{name} END"
        for name in ("status", "status_at")
    ),
)
