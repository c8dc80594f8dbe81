"""Delivery search: finds and counts deliveries by a filter, in a bounded time whatever the filter and the table."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, select

from extension_kit.deliveries.queries import Filter, find
from extension_kit.deliveries.tables import deliveries, events
from extension_kit.event_log import newest
from extension_kit.event_log.candidates import delivery_candidates, status_candidates
from extension_kit.event_log.paging import DELIVERIES, Count, Found
from extension_kit.event_log.search import Search


def find_deliveries(connection: Connection, wanted: Filter, before: str | None, limit: int) -> Found[Row[Any]]:
    """Return a page of the deliveries that match a filter, with rows as ``deliveries.queries.find`` returns them.

    Args:
        connection: to read with.
        wanted: filter.
        before: cursor of an earlier page; None: from the newest delivery on.
        limit: maximum number of rows.

    Raises:
        BadFilter: the cursor is none of this list.
    """
    return _search(connection, wanted).page(connection, DELIVERIES, before, limit, _rows)


def count_deliveries(connection: Connection, wanted: Filter) -> Count:
    """Count the deliveries that match a filter, among as many as a page looks at, up to ``newest.COUNTED``."""
    if wanted == Filter(status=wanted.status):  # the index tells it
        number = status_candidates(wanted.status).up_to(connection, newest.COUNTED + 1)
        return Count(min(number, newest.COUNTED), number <= newest.COUNTED)
    return _search(connection, wanted).count(connection)


def deliveries_of(connection: Connection, event_ref: int, limit: int = 1000) -> Sequence[Row[Any]]:
    """Return the deliveries of an event, oldest first, as ``find_deliveries`` does.

    Args:
        connection: to read with.
        event_ref: number of the event.
        limit: maximum number.
    """
    listener = deliveries.c.listener  # in the order of the index, as an event may have very many
    mine = select(deliveries.c.ref).where(deliveries.c.event_ref == event_ref).order_by(listener).limit(limit)
    return _rows(connection, connection.execute(mine).scalars().all())[::-1]


def _search(connection: Connection, wanted: Filter) -> Search:
    among = delivery_candidates(connection, wanted)
    query = select(deliveries.c.ref).where(*among.conditions, *wanted.conditions())
    if wanted.is_on_events:
        query = query.join_from(deliveries, events)
    return Search.within(connection, among, query, deliveries.c.created_at, wanted)


def _rows(connection: Connection, refs: Sequence[int]) -> Sequence[Row[Any]]:
    return find(connection, Filter(refs=tuple(refs)), len(refs)) if refs else []
