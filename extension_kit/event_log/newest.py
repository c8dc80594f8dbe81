"""Newest: the newest rows that meet conditions, looked for among a bounded number of candidates.

Conditions that no index helps with are checked row by row. So that a search takes no longer in a large table, it looks
at the newest candidates only, in portions, until the page is full, enough candidates were looked at or enough time has
gone by. Portions are as large as the time that is left allows, at the pace of the one before.
"""

import time
from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Column, ColumnElement, Connection, Select, func, literal_column, select

from extension_kit.event_log.candidates import Candidates
from extension_kit.event_log.paging import Count, cursor
from extension_kit.event_log.spans import Span

COUNTED = 10_000
"""Rows that are counted at most."""

_FIRST, _LARGEST = 500, 5000  # candidates of a portion
_MOST = 20_000  # candidates
_SECONDS = 0.05  # for all portions


class Newest(NamedTuple):
    """Result of a search.

    Attributes:
        refs: numbers of rows, newest first.
        rest: number below which there may be further ones; None: there are none.
        is_full: True: there are as many as were wanted.
    """

    refs: list[int]
    rest: int | None
    is_full: bool

    def next(self, kind: str) -> str | None:
        """Return the cursor of the next page; None: there is none.

        Args:
            kind: of the list, as ``paging.cursor`` takes it.
        """
        return None if self.rest is None else cursor(kind, self.rest)

    def searched_to(self, connection: Connection, ref: Column[Any], time: Column[Any]) -> datetime | None:
        """Return the time of the oldest row that was looked at, if the search ended before it had enough rows."""
        if self.is_full or self.rest is None:
            return None
        return connection.execute(select(time).where(ref >= self.rest).order_by(ref).limit(1)).scalar()


def newest(connection: Connection, among: Candidates, wanted: Select[Any], span: Span, limit: int) -> Newest:
    """Return the newest rows that meet conditions.

    Args:
        connection: to read with.
        among: candidates.
        wanted: selects numbers of rows by all conditions, those of the candidates included.
        span: numbers to look at.
        limit: most rows to return.
    """
    refs: list[int] = []

    def look(part: Span) -> bool:
        query = among.hinted(wanted.where(*part.conditions(among.ref))).order_by(_order(among))
        refs.extend(connection.execute(query.limit(limit + 1 - len(refs))).scalars())
        return len(refs) > limit

    rest = look_at_portions(connection, among, span, look)
    if len(refs) > limit:
        return Newest(refs[:limit], refs[limit - 1], is_full=True)
    return Newest(refs, rest, is_full=len(refs) == limit)


def count(connection: Connection, among: Candidates, wanted: Select[Any], span: Span) -> Count:
    """Count rows that meet conditions, up to ``COUNTED``; arguments as for ``newest``."""
    number = 0

    def look(part: Span) -> bool:
        nonlocal number
        some = among.hinted(wanted.where(*part.conditions(among.ref))).limit(COUNTED + 1 - number)
        number += connection.execute(select(func.count()).select_from(some.subquery())).scalar_one()
        return number > COUNTED

    rest = look_at_portions(connection, among, span, look)
    return Count(min(number, COUNTED), is_exact=number <= COUNTED and rest is None)


def look_at_portions(
    connection: Connection,
    among: Candidates,
    span: Span,
    look: Callable[[Span], bool],
    *,
    seconds: float | None = None,
    most: int | None = None,
) -> int | None:
    """Look at the candidates in portions, newest first, until ``look`` returns True.

    Args:
        connection: to read with.
        among: candidates.
        span: numbers to look at.
        look: called with the numbers of each portion.
        seconds: for all portions; None: as for a page.
        most: candidates; None: as for a page.

    Returns:
        The number below which there are candidates that were not looked at; None: there are none.
    """
    end = time.monotonic() + (_SECONDS if seconds is None else seconds)
    size, left = _FIRST, _MOST if most is None else most
    while True:
        began = time.monotonic()
        behind = connection.execute(_in_order(among, span).offset(size).limit(1)).scalar()
        if look(span if behind is None else span._replace(first=behind + 1)) or behind is None:
            return None
        span = span.cut(behind + 1)
        left -= size
        now = time.monotonic()
        size = min(int(size * (end - now) / max(now - began, 1e-6)), _LARGEST, left)
        if size < _FIRST:
            return span.below


def _in_order(among: Candidates, span: Span) -> Select[Any]:
    candidates = select(among.ref).where(*among.conditions, *span.conditions(among.ref))
    return among.hinted(candidates).order_by(_order(among))


def _order(among: Candidates) -> ColumnElement[Any]:
    """Return the order by number, such that stores do not go through the whole table in it to find a few rows."""
    return (among.ref + literal_column("0") if among.are_few else among.ref).desc()
