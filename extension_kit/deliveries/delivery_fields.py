"""Delivery fields: a delivery with its event as names and values, for people and for scripts."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Row

from extension_kit.deliveries.tables import WAITING


def delivery_fields(row: Row[Any], behind: Mapping[int, int]) -> dict[str, Any]:
    """Return the fields of a delivery, but its number. Its error may hold secrets.

    Args:
        row: a row of ``queries.find``.
        behind: delivery number -> number of the delivery that it waits for.
    """
    return {
        "status": row.status,
        "attempts": row.attempts,
        "event": row.name,
        "event_id": row.event_id,
        "subject": row.subject,
        "listener": row.listener,
        "series": row.series,
        "place_in_series": row.place,
        "behind": behind.get(row.ref),
        "attempted_since": row.claimed_at,
        "created_at": row.created_at,
        "due_at": row.due_at if row.status == WAITING else None,
        "ended_at": row.ended_at,
        "error": row.error,
    }
