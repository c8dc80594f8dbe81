"""Candidates: the rows that an index finds for a filter, among which a search checks the other conditions.

An index is of use if it has its rows in the order of their numbers, or if it shows that there are few. Everything else
is looked for among all rows, newest first.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Column, ColumnElement, Connection, exists, func, literal, select
from sqlalchemy.sql.selectable import HasHints

from extension_kit.deliveries.queries import Filter
from extension_kit.deliveries.tables import WAITING, bounded, deliveries, events
from extension_kit.deliveries.text_conditions import begins_with
from extension_kit.event_log.filters import EventFilter

_FEW = 5000  # rows that are sorted for a search
_FEW_WAIT = 60_000  # deliveries of which an index has all that is needed to sort them
_FEW_LISTENERS = 100  # looked up by key
_MOST_SOURCES = 200
_MOST_VALUES = 2000

# SQLite knows little about how many rows it will find, so it is told which index to use.
BY_NUMBER = "NOT INDEXED"
"""Hint to go through a table in the order of its numbers."""

BY_LISTENER = "INDEXED BY ix_deliveries_listener_status"
"""Hint to find deliveries by the key of their listener."""

_BY_LINE = "INDEXED BY ix_deliveries_line"
_ENDED = "INDEXED BY ix_deliveries_ended"
_BY_SOURCE = "INDEXED BY sqlite_autoindex_events_1"


S = TypeVar("S", bound=HasHints)


class Candidates(NamedTuple):
    """Rows of a table that an index finds.

    Attributes:
        ref: primary key of the table.
        conditions: met by the candidates.
        hint: names the index to SQLite; None: SQLite chooses.
        are_few: True: there are so few that a store may sort them; False: the index has them in the order of numbers.
    """

    ref: Column[Any]
    conditions: Sequence[ColumnElement[bool]] = ()
    hint: str | None = None
    are_few: bool = False

    def hinted(self, query: S) -> S:
        """Return a query with the hint."""
        return query if self.hint is None else query.with_hint(self.ref.table, self.hint, "sqlite")

    def up_to(self, connection: Connection, most: int) -> int:
        """Return the number of candidates, counted up to a number."""
        some = self.hinted(select(literal(1)).select_from(self.ref.table).where(*self.conditions)).limit(most)
        return connection.execute(select(func.count()).select_from(some.subquery())).scalar_one()


def values_of(
    connection: Connection,
    column: Column[Any],
    most: int,
    *,
    beginning: str = "",
    having: Sequence[ColumnElement[bool]] = (),
) -> list[str]:
    """Return the different values of a column that begins an index, in their order.

    Each takes one look into the index: going through all rows would take long. At most 2000 values are looked at.

    Args:
        connection: to read with.
        column: of texts.
        most: maximum number of values.
        beginning: of the values.
        having: conditions on a row with the value, which the index knows, too.
    """
    known = select(func.min(column).label("value")).where(begins_with(column, beginning)).cte("known", recursive=True)
    following = select(func.min(column)).where(column > known.c.value).correlate(known).scalar_subquery()
    known = known.union_all(select(following).where(begins_with(known.c.value, beginning)))
    some = select(known.c.value).where(begins_with(known.c.value, beginning)).limit(_MOST_VALUES).subquery()
    found = select(some.c.value).limit(most)
    if having:
        found = found.where(exists().where(column == some.c.value, *having))
    return list(connection.execute(found).scalars())


def sources(connection: Connection) -> list[str]:
    """Return the sources of the stored events, at most 200, in their order."""
    return values_of(connection, events.c.source, _MOST_SOURCES)


def event_candidates(connection: Connection, wanted: EventFilter) -> Candidates:
    """Choose the candidates of a search for events."""
    if wanted.event_id:
        among = [bounded(wanted.source)] if wanted.source else sources(connection)
        mine = events.c.source.in_(among), events.c.event_id == bounded(wanted.event_id)
        return Candidates(events.c.ref, mine, are_few=True)
    if wanted.source:
        of_source = Candidates(events.c.ref, [events.c.source == bounded(wanted.source)], _BY_SOURCE, are_few=True)
        if of_source.up_to(connection, _FEW + 1) <= _FEW:
            return of_source
    return Candidates(events.c.ref, hint=BY_NUMBER)


def delivery_candidates(connection: Connection, wanted: Filter) -> Candidates:
    """Choose the candidates of a search for deliveries."""
    ref = deliveries.c.ref
    if wanted.refs:
        return Candidates(ref, are_few=True)
    of_events = event_candidates(connection, EventFilter.of(wanted))
    if of_events.are_few:
        of_these = deliveries.c.event_ref.in_(select(events.c.ref).where(*of_events.conditions))
        return Candidates(ref, [of_these], are_few=True)
    status = list(Filter(status=wanted.status).conditions())
    if wanted.listener:
        keys = values_of(connection, deliveries.c.listener, _FEW_LISTENERS + 1, beginning=wanted.listener)
        of_listeners = Candidates(ref, [deliveries.c.listener.in_(keys), *status], BY_LISTENER, are_few=True)
        if len(keys) <= _FEW_LISTENERS and of_listeners.up_to(connection, _FEW + 1) <= _FEW:
            return of_listeners
    of_status = status_candidates(wanted.status)
    if of_status.are_few and of_status.up_to(connection, _FEW_WAIT + 1) > _FEW_WAIT:
        return Candidates(ref, hint=BY_NUMBER)
    return of_status


def status_candidates(status: str | None) -> Candidates:
    """Return the deliveries of a status as candidates; None: of any."""
    if status is None:
        return Candidates(deliveries.c.ref, hint=BY_NUMBER)
    conditions = list(Filter(status=status).conditions())
    if status == WAITING:
        return Candidates(deliveries.c.ref, conditions, _BY_LINE, are_few=True)
    return Candidates(deliveries.c.ref, conditions, _ENDED)
