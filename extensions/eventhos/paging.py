"""Paging of lists: their part, order and totals (eventhos, management API: envelope and paging)."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

from flask import request
from sqlalchemy import ColumnElement, Connection, Row, Select, func, select

from .answers import EventhosError
from .tables import LARGEST_ID

_PER_PAGE = 5
_MOST_PER_PAGE = 100
_MOST_INDEX = 2**31 - 1
_DIGITS = re.compile(r"[0-9]{1,4000}")  # Python reads no longer numbers


@dataclass(frozen=True)
class Paging:
    """Part and order of a list.

    Attributes:
        index: of the page, from 0.
        per_page: maximum number of items.
        column: sorts the list.
        id: sorts rows that are equal in ``column``.
        descending: True for the largest first.
    """

    index: int
    per_page: int
    column: ColumnElement[Any]
    id: ColumnElement[Any]
    descending: bool

    @classmethod
    def of_request(cls, columns: Mapping[str, ColumnElement[Any]], *, order: str = "asc") -> "Paging":
        """Read the query of the current request. As in upstream, impossible values count as if they were not sent.

        A page of too many items has the most that one can have.

        Args:
            columns: those that may sort the list, by the name in ``activeSort``; ``id`` is one of them.
            order: ``asc`` or ``desc``, if the request has neither.
        """
        sent = request.args
        sent_order = sent.get("order", "").lower()
        index = _whole_number(sent.get("pageIndex", ""), 0, default=0)
        return cls(
            index=index if index <= _MOST_INDEX else 0,
            per_page=min(_whole_number(sent.get("itemsPerPage", ""), 1, default=_PER_PAGE), _MOST_PER_PAGE),
            column=columns.get(sent.get("activeSort", ""), columns["id"]),
            id=columns["id"],
            descending=(sent_order if sent_order in ("asc", "desc") else order) == "desc",
        )

    def part(self, query: Select[Any]) -> Select[Any]:
        """Return the query of the page, of one that selects all rows in no order."""
        order = [each.desc() if self.descending else each.asc() for each in (self.column, self.id)]
        return query.order_by(*order).limit(self.per_page).offset(self.index * self.per_page)

    def content(self, items: list[dict[str, Any]], total: int) -> dict[str, Any]:
        """Return the content of an answer with the items of the page."""
        return {
            "items": items,
            "pageIndex": self.index,
            "itemsPerPage": self.per_page,
            "totalItems": total,
            "totalPages": ceil(total / self.per_page),
        }


def number_of_query(name: str, code: int) -> int | None:
    """Return the number that a parameter of the current request's query has; None without one.

    Args:
        name: of the parameter.
        code: eventhos's code of a bad value.

    Raises:
        EventhosError: 400, it is no number of a row.
    """
    text = request.args.get(name, "")
    if not text:
        return None
    if not (_DIGITS.fullmatch(text) and int(text) <= LARGEST_ID):
        raise EventhosError(400, code, f"{name}: Not a valid integer.")
    return int(text)


def _whole_number(text: str, low: int, *, default: int) -> int:
    return int(text) if _DIGITS.fullmatch(text) and int(text) >= low else default


def page(
    connection: Connection, query: Select[Any], paging: Paging, shown: Callable[[Row[Any]], dict[str, Any]]
) -> dict[str, Any]:
    """Read a page of a query, and return the content of its answer.

    Args:
        connection: of one read transaction, so that items and totals go together.
        query: selects all rows, in no order.
        paging: the part and order.
        shown: returns a row as the answer shows it.
    """
    total = connection.execute(select(func.count()).select_from(query.subquery())).scalar_one()
    return paging.content(list(map(shown, connection.execute(paging.part(query)))), total)
