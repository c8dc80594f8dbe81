"""Attempt rows: reads the latest attempts."""

from sqlalchemy import Connection, select

from extension_kit.deliveries.tables import attempts, deliveries


def latest(connection: Connection, number: int) -> list[tuple[str, float, bool]]:
    """Return the latest attempts, oldest first: listener, duration in seconds, True if its delivery ended."""
    last = select(attempts).order_by(attempts.c.ref.desc()).limit(number).subquery()
    query = select(deliveries.c.listener, last.c.started_at, last.c.ended_at, last.c.result)
    rows = connection.execute(query.join(deliveries, deliveries.c.ref == last.c.delivery_ref).order_by(last.c.ref))
    return [
        (listener, (ended_at - started_at).total_seconds(), result in ("delivered", "refused"))
        for listener, started_at, ended_at, result in rows
        if ended_at is not None
    ]
