"""Spans: the numbers of the rows of a time range, found by bisection: times have no index, but grow with numbers."""

from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Column, ColumnElement, Connection, bindparam, func, select

from extension_kit.store.types import UtcDateTime

# Rows can be stored after others that are newer: two processes write, or an event waited for its filing.
_LATE = timedelta(minutes=1)
_NEIGHBOURS = 16  # rows looked at in one place
_PROBES = 12  # places looked at with one statement
_LAST = datetime.max.replace(tzinfo=UTC)


class Span(NamedTuple):
    """A range of numbers: from ``first`` on, and smaller than ``below``; None: without this bound."""

    first: int | None = None
    below: int | None = None

    def conditions(self, ref: ColumnElement[int]) -> list[ColumnElement[bool]]:
        """Return the range as conditions on a number."""
        first = [] if self.first is None else [ref >= self.first]
        return first if self.below is None else [*first, ref < self.below]

    def cut(self, below: int | None) -> "Span":
        """Return the part of the range that is smaller than a number; None: all of it."""
        if below is None or (self.below is not None and self.below <= below):
            return self
        return self._replace(below=below)


def span_of(
    connection: Connection,
    ref: Column[Any],
    time: Column[Any],
    after: datetime | None,
    before: datetime | None,
    late: timedelta = _LATE,
) -> Span:
    """Return a range of numbers outside of which no row is of the time range; inside there may be others.

    Rows that were stored more than ``late`` after newer ones may be left out.

    Args:
        connection: to read with.
        ref: primary key of a table.
        time: column of the table that grows with it.
        after: beginning of the time range; None: without.
        before: its end; None: without.
        late: for how long rows that are stored may be older than others before them.
    """
    if after is None and before is None:
        return Span()
    ends = select(select(func.min(ref)).scalar_subquery(), select(func.max(ref)).scalar_subquery())
    lowest, highest = connection.execute(ends).one()
    if lowest is None:
        return Span()
    first = None if after is None else _first_at(connection, ref, time, after, lowest, highest)
    if before is None or before > _LAST - late:
        return Span(first)
    return Span(first, _first_at(connection, ref, time, before + late, lowest, highest))


def _first_at(
    connection: Connection, ref: Column[Any], time: Column[Any], moment: datetime, low: int, highest: int
) -> int:
    """Return the number of the first row that is not older than a moment, or the one after ``highest``."""
    # The newest of some rows, as single ones may be older than those before them.
    near = [
        select(time.label("time")).where(ref <= bindparam(f"place_{n}", type_=ref.type)).order_by(ref.desc())
        for n in range(_PROBES)
    ]
    some = [each.limit(_NEIGHBOURS).subquery() for each in near]
    newest = select(*(select(func.max(each.c.time, type_=UtcDateTime())).scalar_subquery() for each in some))
    high = highest + 1
    while low < high:
        # Several places at once: each statement takes a while on its way to the server.
        places = [low + (high - low) * n // _PROBES for n in range(_PROBES)]
        times = connection.execute(newest, {f"place_{n}": place for n, place in enumerate(places)}).one()
        reached = [n for n, time in enumerate(times) if time is not None and time >= moment]
        older = reached[0] if reached else _PROBES
        low, high = places[older - 1] + 1 if older else low, places[older] if reached else high
    return low
