"""Entries of the log: which events are in it already, and those of new events, written together."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, select

from extension_kit.protocol import IsAnyOf, PreparedStatement, driver_time

from .bulk_writes import bulk_add
from .payload import Posted, text
from .tables import LATER, UNKNOWN, log

LONGEST_TEXT = 65_536
"""Characters of a return value, an exception or a traceback in the log; listeners get the whole text."""

_CUT = " [...] "


class Arrival(NamedTuple):
    """An event that has arrived.

    Attributes:
        posted: the event.
        id: the id of the published event.
        now: when it arrived, aware.
        trace_context: of its request.
    """

    posted: Posted
    id: str
    now: datetime
    trace_context: str = ""


def find_new(connection: Connection, arrivals: Sequence[Arrival]) -> list[Arrival]:
    """Return the events that are not in the log, each once, in their order."""
    known = {id for (id,) in _KNOWN.all(connection, ids=[arrival.id for arrival in arrivals])}
    new: dict[str, Arrival] = {}
    for arrival in arrivals:
        if arrival.id not in known:
            new.setdefault(arrival.id, arrival)
    return list(new.values())


def add_entries(connection: Connection, arrivals: Sequence[tuple[Arrival, int | None]]) -> list[int]:
    """Add entries, at least one, and return their refs, which ascend.

    Args:
        connection: of a transaction.
        arrivals: new events, each with the ref of its job, if it has one.
    """
    is_sqlite = connection.dialect.name == "sqlite"
    refs = _ADD.execute(connection, [_values(*each, is_sqlite=is_sqlite) for each in arrivals])
    return sorted(ref for (ref,) in refs)


def _values(arrival: Arrival, job_ref: int | None, *, is_sqlite: bool) -> tuple[Any, ...]:
    posted = arrival.posted
    time = None if posted.time is None else driver_time(posted.time, is_sqlite=is_sqlite)
    return (
        arrival.id,
        int(posted.code),
        posted.scheduler or UNKNOWN,
        job_ref,
        time,
        driver_time(LATER, is_sqlite=is_sqlite) if time is None else time,
        driver_time(arrival.now, is_sqlite=is_sqlite),
        None if posted.next_run is None else driver_time(posted.next_run, is_sqlite=is_sqlite),
        _shortened(posted.payload.get("return_value")),
        _shortened(posted.payload.get("exception")),
        _shortened(posted.payload.get("traceback")),
    )


def _shortened(value: Any) -> str | None:
    """Return a value as a text for dashboards. They show thousands, so a long text keeps its begin and end only."""
    written = text(value)
    if written is None or len(written) <= LONGEST_TEXT:
        return written
    part = (LONGEST_TEXT - len(_CUT)) // 2
    return f"{written[:part]}{_CUT}{written[-part:]}"


_KNOWN = PreparedStatement(select(log.c.event_id).where(IsAnyOf(log.c.event_id, "ids")))
_ADD = bulk_add(
    log.name,
    {
        "event_id": "text",
        "code": "integer",
        "scheduler": "text",
        "job_ref": "bigint",
        "time": "timestamptz",
        "sort_at": "timestamptz",
        "received_at": "timestamptz",
        "next_run": "timestamptz",
        "return_value": "text",
        "exception": "text",
        "traceback": "text",
    },
    "RETURNING ref",
)
