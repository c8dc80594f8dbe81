"""Trial: writes all rows that an event may need, to find out if events can be recorded; the caller rolls it back."""

from datetime import UTC, datetime
from random import SystemRandom

from sqlalchemy import Connection, insert

from extension_kit.deliveries.entries import Entry, Match
from extension_kit.deliveries.series_counts import count_up
from extension_kit.deliveries.step_memory import remember_step
from extension_kit.deliveries.tables import attempts as attempt_rows
from extension_kit.deliveries.tables import deliveries, events
from extension_kit.store.types import driver_time


def write_trial(connection: Connection, match: Match | None, *, attempts: bool) -> None:
    """Write an event with everything it may have: a step, a place in a series and a delivery.

    Its refs are random and negative, so that no refs of real rows are used up, and two processes doing this at the same
    time do not wait for each other.

    Args:
        connection: of a transaction that is rolled back afterwards, to here at least.
        match: looks for subscriptions.
        attempts: write an attempt, too.
    """
    ref, now = -1 - SystemRandom().getrandbits(62), datetime.now(UTC)
    name = f"try{ref}"
    entry = Entry("extension-kit", name, name, None, None, b"{}", name, (name,))
    event = {"source": entry.source, "event_id": name, "name": name, "received_at": now, "body": entry.body}
    connection.execute(insert(events).values(ref=ref, **event))
    remember_step(connection, name, name, entry.body, now)
    count_up(connection, {name: 1}, driver_time(now, is_sqlite=connection.dialect.name == "sqlite"))
    if match is not None:
        match(connection, [entry])
    delivery = {"event_ref": ref, "listener": name, "lock": name, "series": name, "created_at": now, "due_at": now}
    connection.execute(insert(deliveries).values(ref=ref, **delivery))
    if attempts:
        connection.execute(insert(attempt_rows).values(delivery_ref=ref, number=1, started_at=now))
