"""Run places: where the events of a run are among all events, told by the row of its series.

Subjects have no index, because each of a table's indexes slows down the filing of all events. The series of a run has
the time and the number of its last event, by the tenant and the execution's number.
"""

from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Column, Connection, select

from extension_kit.deliveries.tables import bounded, deliveries, series
from extension_kit.event_log.spans import Span, span_of

_LOOKED_AT = 500  # newest and oldest deliveries, which tell the tenants
_LATE = timedelta(seconds=2)


class LastPlace(NamedTuple):
    """The last event of a series.

    Attributes:
        at: the time at which it was received.
        place: its place in the series, from 1.
    """

    at: datetime
    place: int


def last_place(connection: Connection, subject: str) -> LastPlace | None:
    """Return the last event of a run; None if it is not known.

    Args:
        connection: to read with.
        subject: of the run's events, ``<experiment key>/<execution id>``. With the same execution id in several
            tenants, the later one counts.
    """
    _, slash, number = subject.rpartition("/")
    if not slash or not number.isdecimal():
        return None
    keys = [bounded(f"{tenant}/{number}") for tenant in _tenants(connection)]
    found = (
        select(series.c.last_at, series.c.last_count).where(series.c.key.in_(keys)).order_by(series.c.last_at.desc())
    )
    row = connection.execute(found.limit(1)).one_or_none()
    return row and LastPlace(*row)


def span_of_run(connection: Connection, subject: str | None, ref: Column[Any], time: Column[Any]) -> Span:
    """Return numbers beyond which there is no row of a run; all numbers where its last event is not known.

    Args:
        connection: to read with.
        subject: of the run's events; None: no run.
        ref: primary key of a table.
        time: column of the table that grows with it, the time at which the event was received.
    """
    last = last_place(connection, subject) if subject else None
    return span_of(connection, ref, time, None, last.at, _LATE) if last else Span()


def _tenants(connection: Connection) -> set[str]:
    """Return the tenants of the newest and of the oldest deliveries: the beginnings of their series."""
    tenants: set[str] = set()
    for order in (deliveries.c.ref.desc(), deliveries.c.ref):
        some = select(deliveries.c.series).order_by(order).limit(_LOOKED_AT).subquery()
        found = connection.execute(select(some.c.series).where(some.c.series.like("%/%")).distinct())
        tenants.update(key.rpartition("/")[0] for key in found.scalars())
    return tenants
