"""Event search: finds events by a filter, with the numbers of their deliveries, in a bounded time."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, func, literal, select

from extension_kit.deliveries.tables import DEAD, DELIVERED, DISCARDED, WAITING, deliveries, events
from extension_kit.event_log.candidates import event_candidates
from extension_kit.event_log.filters import EventFilter
from extension_kit.event_log.paging import EVENTS, Count, Found
from extension_kit.event_log.search import Search

_COUNTED = 10_000  # deliveries of all events of a page
_LEAST_COUNTED = 20  # deliveries of an event


def find_events(connection: Connection, wanted: EventFilter, before: str | None, limit: int) -> Found[Row[Any]]:
    """Return a page of the events that match a filter.

    The rows have the columns of events but the body; the bytes of the body as ``size``; and ``waiting``, ``delivered``,
    ``dead``, ``discarded``, the numbers of deliveries with this status, among at most ``counted`` deliveries of the
    event.

    Args:
        connection: to read with.
        wanted: filter.
        before: cursor of an earlier page; None: from the newest event on.
        limit: maximum number of rows.

    Raises:
        BadFilter: the cursor is none of this list.
    """
    return _search(connection, wanted).page(connection, EVENTS, before, limit, _rows)


def count_events(connection: Connection, wanted: EventFilter) -> Count:
    """Count the events that match a filter, among as many as a page looks at, up to ``newest.COUNTED``."""
    return _search(connection, wanted).count(connection)


def event_of(connection: Connection, ref: int) -> Row[Any] | None:
    """Return all columns of an event; None if there is none."""
    return connection.execute(select(events).where(events.c.ref == ref)).one_or_none()


def _search(connection: Connection, wanted: EventFilter) -> Search:
    among = event_candidates(connection, wanted)
    query = select(events.c.ref).where(*among.conditions, *wanted.conditions())
    return Search.within(connection, among, query, events.c.received_at, wanted)


def _rows(connection: Connection, refs: Sequence[int]) -> Sequence[Row[Any]]:
    """Return events by their numbers, newest first."""
    if not refs:
        return []
    counted = max(_LEAST_COUNTED, _COUNTED // len(refs))
    some = select(deliveries.c.status).where(deliveries.c.event_ref == events.c.ref).limit(counted).correlate(events)
    among = some.subquery()
    numbers = [
        select(func.count()).select_from(among).where(among.c.status == status).scalar_subquery().label(status)
        for status in (WAITING, DELIVERED, DEAD, DISCARDED)
    ]
    columns: list[ColumnElement[Any]] = [column for column in events.c if column is not events.c.body]
    size = func.length(events.c.body).label("size")
    query: Select[Any] = select(*columns, size, *numbers, literal(counted).label("counted")).where(
        events.c.ref.in_(refs)
    )
    return connection.execute(query.order_by(events.c.ref.desc())).all()
