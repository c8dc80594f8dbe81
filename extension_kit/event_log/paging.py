"""Paging: pages by number, newest first, and the cursors that tell where the next one begins."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Generic, NamedTuple, TypeVar

R = TypeVar("R")

DEFAULT_LIMIT, MAX_LIMIT = 50, 200
"""Rows of a page."""

_CURSOR = re.compile(r"([ader])([0-9a-f]{1,16})", re.ASCII)
_MAX_REF = 2**63 - 1

ACTIONS, DELIVERIES, EVENTS, RUNS = "a", "d", "e", "r"
"""Lists that have cursors."""


class BadFilter(ValueError):
    """A parameter of an address has a value that is not allowed; the message is a sentence for people."""


class Found(NamedTuple, Generic[R]):
    """A page of a list.

    Attributes:
        rows: newest first.
        next: cursor of the page of older rows; None: there are none.
        searched_to: time of the oldest row that was looked at, if the search ended before the page was full; None: the
            page is full, or there are no further rows.
    """

    rows: Sequence[R]
    next: str | None
    searched_to: datetime | None


class Count(NamedTuple):
    """A number of rows.

    Attributes:
        number: rows that were counted.
        is_exact: False: there are as many at least.
    """

    number: int
    is_exact: bool


def cursor(kind: str, ref: int) -> str:
    """Return the cursor of the rows with a smaller number, of one of the lists that have cursors."""
    return f"{kind}{ref:x}"


def number_of(kind: str, cursor: str | None) -> int | None:
    """Return the number that a cursor of a list is made of; None for None.

    Raises:
        BadFilter: the text is no cursor of this list.
    """
    if cursor is None:
        return None
    match = _CURSOR.fullmatch(cursor)
    if match is None or match[1] != kind or (number := int(match[2], 16)) > _MAX_REF:
        raise BadFilter("before is no place in this list: take it from the address of a next page, or leave it out.")
    return number


def limit_of(args: Mapping[str, str]) -> int:
    """Return the number of rows of a page, by the parameter ``limit``.

    Raises:
        BadFilter: it is no number from 1 to 200.
    """
    given = args.get("limit") or str(DEFAULT_LIMIT)
    if not re.fullmatch(r"\d{1,3}", given, re.ASCII) or not 1 <= (limit := int(given)) <= MAX_LIMIT:
        raise BadFilter(f"limit is a number from 1 to {MAX_LIMIT}, not {given!r:.80}.")
    return limit
