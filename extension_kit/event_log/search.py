"""Search: the rows of a filter among bounded candidates, of which a page is read or the number counted."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, Connection, Row, Select

from extension_kit.deliveries.queries import Filter
from extension_kit.event_log import newest
from extension_kit.event_log.candidates import Candidates
from extension_kit.event_log.filters import EventFilter
from extension_kit.event_log.paging import Count, Found, number_of
from extension_kit.event_log.run_places import span_of_run
from extension_kit.event_log.spans import Span, span_of


@dataclass(frozen=True)
class Search:
    """A search in a table.

    Attributes:
        among: candidates.
        query: selects numbers of rows by all conditions, those of the candidates included.
        time: column of the table that grows with the numbers.
        span: numbers to look at.
    """

    among: Candidates
    query: Select[Any]
    time: Column[Any]
    span: Span

    @classmethod
    def within(
        cls,
        connection: Connection,
        among: Candidates,
        query: Select[Any],
        time: Column[Any],
        wanted: Filter | EventFilter,
    ) -> "Search":
        """Return a search within the time range and the run of a filter; arguments as for the attributes."""
        span = span_of(connection, among.ref, time, wanted.after, wanted.before)
        of_run = span_of_run(connection, wanted.subject, among.ref, time)
        return cls(among, query, time, span.cut(of_run.below))

    def page(
        self,
        connection: Connection,
        kind: str,
        before: str | None,
        limit: int,
        rows: Callable[[Connection, Sequence[int]], Sequence[Row[Any]]],
    ) -> Found[Row[Any]]:
        """Return a page of the rows.

        Args:
            connection: to read with.
            kind: of the list, as ``paging.cursor`` takes it.
            before: cursor of an earlier page; None: from the newest row on.
            limit: maximum number of rows.
            rows: reads rows by their numbers.

        Raises:
            BadFilter: the cursor is none of this list.
        """
        span = self.span.cut(number_of(kind, before))
        found = newest.newest(connection, self.among, self.query, span, limit)
        searched_to = found.searched_to(connection, self.among.ref, self.time)
        return Found(rows(connection, found.refs), found.next(kind), searched_to)

    def count(self, connection: Connection) -> Count:
        """Count the rows, among as many candidates as a page looks at, up to ``newest.COUNTED``."""
        return newest.count(connection, self.among, self.query, self.span)
