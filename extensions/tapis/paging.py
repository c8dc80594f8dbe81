"""Paging of lists: attributes, order and number of items (Tapis, live docs: Sort, limit and select)."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import UnaryExpression, asc, desc
from sqlalchemy.sql.elements import ColumnElement, KeyedColumnElement
from werkzeug.datastructures import MultiDict

from .conditions import column_of, parse_value
from .envelope import bad_request
from .tables import subscriptions

DEFAULT_LIMIT = 100
UNLIMITED = -1
_LARGEST = 2**31 - 1
_MAX_KEYS = 10

ALL = "allAttributes"
SUMMARY = "summaryAttributes"
ATTRIBUTES = (
    "tenant",
    "name",
    "description",
    "owner",
    "enabled",
    "typeFilter",
    "subjectFilter",
    "deliveryTargets",
    "ttlMinutes",
    "uuid",
    "expiry",
    "created",
    "updated",
)
_SUMMARY_ATTRIBUTES = frozenset({"owner", "name", "typeFilter", "subjectFilter"})

PARAMETERS = frozenset({"limit", "orderBy", "skip", "startAfter", "computeTotal", "select", "ownedBy", "anyOwner"})
"""The query parameters of lists, without search conditions."""

_ORDER = re.compile(r"\s*([A-Za-z_]+)\s*(?:\(\s*(asc|desc)\s*\))?\s*", re.IGNORECASE)


def single_values(parameters: "MultiDict[str, str]") -> Mapping[str, str]:
    """Return the parameters of a query.

    Raises:
        ApiError: 400, a parameter is repeated, or holds the character U+0000.
    """
    if any("\x00" in value for value in parameters.values()):
        raise bad_request("a parameter must not hold the character U+0000")
    if repeated := [name for name, values in parameters.lists() if len(values) > 1]:
        raise bad_request(f"the parameter {repeated[0]:.80} comes more than once")
    return parameters


def boolean(parameters: Mapping[str, str], name: str, *, default: bool = False) -> bool:
    """Read a boolean parameter, in upper or lower case.

    Raises:
        ApiError: 400, it is neither true nor false.
    """
    text = parameters.get(name, "").lower()
    if text not in {"", "true", "false"}:
        raise bad_request(f"{name} is true or false")
    return text == "true" if text else default


def whole_number(text: str, name: str, low: int, high: int = _LARGEST) -> int:
    """Read a whole number.

    Raises:
        ApiError: 400, it is not a whole number, too small or too large.
    """
    if not re.fullmatch(r"[+-]?[0-9]{1,10}", text) or not low <= int(text) <= high:
        raise bad_request(f"{name} is a whole number from {low} to {high}")
    return int(text)


def selected(parameters: Mapping[str, str], default: str) -> frozenset[str]:
    """Return the selected attributes. The name is always selected, unknown attributes are ignored.

    Args:
        parameters: of the query.
        default: ``ALL`` or ``SUMMARY``.
    """
    wanted = {word.strip() for word in (parameters.get("select") or default).split(",")}
    if ALL in wanted:
        return frozenset(ATTRIBUTES)
    return frozenset(wanted & {*ATTRIBUTES}) | {"name"} | (_SUMMARY_ATTRIBUTES if SUMMARY in wanted else frozenset())


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a list.

    Attributes:
        limit: the maximum number of items; -1: all.
        skip: the number of items left out at the beginning.
        order: the order of the items.
        behind: selects the items behind the one that ``startAfter`` names; None: no such condition.
        order_by: the parameter as it was sent, or None.
        start_after: the parameter as it was sent, or None.
        compute_total: True to count the items of all pages.
        select: the selected attributes.
    """

    limit: int
    skip: int
    order: tuple[UnaryExpression[Any], ...]
    behind: ColumnElement[bool] | None
    order_by: str | None
    start_after: str | None
    compute_total: bool
    select: frozenset[str]

    @classmethod
    def of(cls, parameters: Mapping[str, str]) -> "Page":
        """Read the parameters of a query.

        Raises:
            ApiError: 400, a parameter is not valid, or parameters contradict each other.
        """
        order_by, start_after = parameters.get("orderBy") or None, parameters.get("startAfter") or None
        if start_after is not None and (order_by is None or "skip" in parameters):
            raise bad_request("startAfter needs orderBy, and does not go with skip")
        keys = list(_keys(order_by)) if order_by else []
        behind = None
        if start_after is not None:
            column, descending = keys[0]
            value = parse_value(column, start_after)
            behind = column < value if descending else column > value
        created, name, ref = subscriptions.c.created, subscriptions.c.name, subscriptions.c.ref
        sorting = [desc(column) if descending else asc(column) for column, descending in keys]
        return cls(
            limit=whole_number(parameters.get("limit") or str(DEFAULT_LIMIT), "limit", UNLIMITED),
            skip=whole_number(parameters.get("skip") or "0", "skip", 0),
            order=(*(sorting or (asc(created), asc(name))), asc(ref)),
            behind=behind,
            order_by=order_by,
            start_after=start_after,
            # Tapis, too, ignores a value here that is not a boolean.
            compute_total=parameters.get("computeTotal", "").lower() == "true",
            select=selected(parameters, SUMMARY),
        )

    def metadata(self, found: int, total: int | None) -> dict[str, Any]:
        """Make the metadata of an answer with a list.

        Args:
            found: the number of items in the answer.
            total: the number of items on all pages, if it was asked for.
        """
        return {
            "recordCount": found,
            "recordLimit": self.limit,
            "recordsSkipped": self.skip,
            "orderBy": self.order_by,
            "startAfter": self.start_after,
            "totalCount": -1 if total is None else total,
        }


def _keys(order_by: str) -> Iterable[tuple[KeyedColumnElement[Any], bool]]:
    parts = order_by.split(",")
    if len(parts) > _MAX_KEYS:
        raise bad_request(f"orderBy has {_MAX_KEYS} attributes at most")
    for part in parts:
        if (found := _ORDER.fullmatch(part)) is None:
            raise bad_request(f"orderBy is written name(asc),created(desc), not {part:.80}")
        yield column_of(found[1]), (found[2] or "").lower() == "desc"
