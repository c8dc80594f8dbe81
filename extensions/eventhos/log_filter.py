"""Filter of the event log, and the numbers of the events that it matches (eventhos, event log)."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import BindParameter, ColumnElement, Connection, Select, bindparam, func, select

from .tables import ERROR, LARGEST_ID, PROCESSED, contracts, events, executions, received

_STATES = {
    # state, aborted, retried: a failed execution may be aborted or retried, not both.
    "error": (ERROR, False, False),
    "processed": (PROCESSED, False, False),
    "aborted": (ERROR, True, False),
    "retried": (ERROR, False, True),
}

STATES = tuple(_STATES)
"""States by which the log is filtered."""


@dataclass(frozen=True)
class Filter:
    """The events to show; None: any.

    Attributes:
        system: number of the producer.
        since: earliest time, aware.
        until: latest time, aware.
        state: one of ``STATES``: an execution of the event has it.
        id: number of the event in the log.
        identifier: of the event, whole.
    """

    system: int | None = None
    since: datetime | None = None
    until: datetime | None = None
    state: str | None = None
    id: int | None = None
    identifier: str | None = None


class Span(NamedTuple):
    """Matching events within a range of numbers.

    Attributes:
        low: smallest number.
        high: largest number; below ``low`` if there are none.
        size: how many match from the smallest to the largest.
    """

    low: int
    high: int
    size: int

    @property
    def is_dense(self) -> bool:
        """True if every number from the smallest to the largest matches."""
        return self.size == self.high - self.low + 1


class Matching:
    """The numbers of the events that a filter matches.

    Args:
        connection: of one read transaction.
        wanted: the filter.

    Attributes:
        all: all of them.
    """

    def __init__(self, connection: Connection, wanted: Filter) -> None:
        self._connection = connection
        self._wanted = wanted
        narrowed = [
            None if wanted.system is None else events.c.system == wanted.system,
            None if wanted.identifier is None else events.c.identifier == wanted.identifier,
        ]
        self._of_event = [each for each in narrowed if each is not None]
        self._times = [
            *([] if wanted.since is None else [received.c.received_at >= wanted.since]),
            *([] if wanted.until is None else [received.c.received_at <= wanted.until]),
        ]
        low, high = (0, LARGEST_ID) if wanted.id is None else (wanted.id, wanted.id)
        if self._times and (self._of_event or wanted.state):
            low, high = self._limited_by_time(low, high)
        self._contracts = self._contracts_of_event() if wanted.state and self._of_event else None
        self.all = self.span(low, high)

    def span(self, low: int, high: int) -> Span:
        """Count those within a range of numbers."""
        return Span(low, low - 1, 0) if low > high else _span(self._connection, self._numbers(low, high), low)

    def numbers(self, span: Span, start: int, limit: int) -> list[int]:
        """Return some of the numbers in a span, ascending.

        Args:
            span: the span. All its numbers are sorted, unless it is dense.
            start: how many to leave out at its beginning.
            limit: maximum of how many to return.
        """
        if span.is_dense:
            return list(range(span.low + start, min(span.low + start + limit, span.high + 1)))
        found = self._numbers(span.low, span.high).subquery()
        query = select(found.c.id).order_by(found.c.id).offset(start).limit(limit)
        return list(self._connection.execute(query).scalars())

    def _limited_by_time(self, low: int, high: int) -> tuple[int, int]:
        """Return a range of numbers instead of the times, which are usually in the same order.

        Where they are not, the times count within the range.
        """
        times = _span(self._connection, select(received.c.id).where(*self._times), low)
        within = select(received.c.id).where(*_within(received.c.id, times.low, times.high))
        if times.is_dense or _span(self._connection, within, low).size == times.size:
            self._times = []
        return max(low, times.low), min(high, times.high)

    def _contracts_of_event(self) -> list[int]:
        query = select(contracts.c.id).join(events, events.c.id == contracts.c.event).where(*self._of_event)
        return list(self._connection.execute(query).scalars())

    def _numbers(self, low: int, high: int) -> Select[Any]:
        of_times = select(received.c.id).where(*_within(received.c.id, low, high), *self._times)
        if self._wanted.state is None:
            if not self._of_event:
                return of_times
            return of_times.where(received.c.event.in_(select(events.c.id).where(*self._of_event)))
        state, aborted, retried = _STATES[self._wanted.state]
        conditions = [
            executions.c.state == state,
            executions.c.aborted == aborted,
            executions.c.retried == retried,
            *_within(executions.c.received, low, high),
        ]
        if self._contracts is not None:
            # Within the text, which has room for more of them than a statement has for parameters.
            ids: BindParameter[list[int]] = bindparam(
                "contracts", self._contracts, expanding=True, literal_execute=True
            )
            conditions.append(executions.c.contract.in_(ids))
        if self._times:
            conditions.append(executions.c.received.in_(of_times))
        return select(executions.c.received.label("id")).where(*conditions).distinct()


def _within(column: ColumnElement[int], low: int, high: int) -> list[ColumnElement[bool]]:
    # A range that leaves nothing out would keep SQLite from taking another index.
    return [] if (low, high) == (0, LARGEST_ID) else [column.between(low, high)]


def _span(connection: Connection, numbers: Select[Any], low: int) -> Span:
    found = numbers.subquery()
    values: list[Any] = [func.min(found.c.id), func.max(found.c.id), func.count()]
    if numbers.whereclause is None:
        # Without conditions each alone is faster than one walk for all three.
        values = [func.min(received.c.id), func.max(received.c.id), func.count()]
        values = [numbers.with_only_columns(each, maintain_column_froms=True).scalar_subquery() for each in values]
    smallest, largest, size = connection.execute(select(*values)).one()
    return Span(smallest, largest, size) if size else Span(low, low - 1, 0)
