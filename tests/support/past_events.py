"""Events that came in days ago."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import insert

from extension_kit.deliveries.tables import (
    READY,
    WAITING,
    attempts,
    deliveries,
    events,
)
from extension_kit.store.database import Database

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def days_ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


def add_event(
    database: Database,
    event_id: str,
    *delivered: str | tuple[str, float],
    days: float = 100,
    body: bytes = b"{}",
    in_series: str | None = None,
) -> int:
    """Add an event that came in so many days ago, with deliveries: what became of each, and how many days ago."""
    with database.transaction() as connection:
        event = {"source": "s", "event_id": event_id, "name": "n", "received_at": days_ago(days), "body": body}
        ref = connection.execute(insert(events).values(event).returning(events.c.ref)).scalar_one()
        for number, became in enumerate(delivered):
            status, ended = became if isinstance(became, tuple) else (became, days)
            row = {
                "event_ref": ref,
                "listener": f"listener-{number}",
                "series": in_series,
                "status": status,
                "stage": READY if status == WAITING else None,
                "created_at": days_ago(days),
                "due_at": days_ago(days),
                "ended_at": None if status == WAITING else days_ago(ended),
            }
            delivery = connection.execute(insert(deliveries).values(row).returning(deliveries.c.ref)).scalar_one()
            attempt = {"delivery_ref": delivery, "number": 1, "started_at": days_ago(days)}
            connection.execute(insert(attempts).values(attempt))
        return int(ref)
