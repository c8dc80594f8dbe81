"""Conditions on subscriptions as SQL expressions; ``search`` and ``selector`` parse them from texts."""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any

from sqlalchemy import Boolean, ColumnElement, Integer
from sqlalchemy.sql.elements import KeyedColumnElement

from extension_kit.protocol import UtcDateTime, camel_case

from .envelope import bad_request
from .tables import subscriptions

MAX_CONDITIONS = 100
MAX_VALUES = 1000


class Wildcard(Enum):
    """A wildcard of a LIKE pattern."""

    ANY = "any text"
    ONE = "any character"


Pattern = Sequence[str | Wildcard]

_HIDDEN = {"ref", "delivery_targets", "ends_at"}

OPERATORS = ("eq", "neq", "gt", "gte", "lt", "lte", "in", "nin", "like", "nlike", "between", "nbetween")
_SEVERAL = {"in", "nin"}
_PATTERNS = {"like", "nlike"}
_PAIRS = {"between", "nbetween"}

_TIME = re.compile(
    r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:[T ](\d\d)(?::(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?)?)?)?)?(Z|[+-]\d\d(?::?\d\d)?)?",
    re.ASCII,
)


ATTRIBUTES: Mapping[str, KeyedColumnElement[Any]] = {
    spelling: column
    for column in subscriptions.columns
    if column.name not in _HIDDEN
    for spelling in (column.name, camel_case(column.name))
}
"""The columns that can be searched or sorted by, under their names in the API and in the database."""


def column_of(attribute: str) -> KeyedColumnElement[Any]:
    """Return the column of an attribute.

    Raises:
        ApiError: 400, there is no such attribute to search or sort by.
    """
    try:
        return ATTRIBUTES[attribute]
    except KeyError:
        raise bad_request(f"there is no attribute {attribute:.80} to search or sort by") from None


def parse_value(column: KeyedColumnElement[Any], text: str) -> Any:
    """Read a value of the type of a column.

    Raises:
        ApiError: 400, the text is not a value of this type.
    """
    kind = column.type
    if isinstance(kind, UtcDateTime):
        return _parse_time(text)
    if isinstance(kind, Boolean):
        if text.lower() not in {"true", "false"}:
            raise bad_request(f"{column.key} is true or false, not {text:.80}")
        return text.lower() == "true"
    if isinstance(kind, Integer):
        if not re.fullmatch(r"-?[0-9]{1,18}", text):
            raise bad_request(f"{column.key} is a whole number, not {text:.80}")
        return int(text)
    if "\x00" in text:
        raise bad_request("a value must not hold the character U+0000")
    return text


def compare(attribute: str, operator: str, values: Sequence[str]) -> ColumnElement[bool]:
    """Make the comparison of an attribute with values, by any operator but ``like`` and ``nlike``.

    Args:
        attribute: its name in the API or in the database.
        operator: another one of ``OPERATORS``.
        values: two for ``between``, one or more for ``in``, else one.

    Raises:
        ApiError: 400, there is no such attribute, or it cannot be compared with these values by this operator.
    """
    column = column_of(attribute)
    if isinstance(column.type, Boolean) and operator not in {"eq", "neq"}:
        raise bad_request(f"{attribute} can only be compared by eq and neq")
    wanted = 2 if operator in _PAIRS else None if operator in _SEVERAL else 1
    if not 1 <= len(values) <= MAX_VALUES or wanted not in {None, len(values)}:
        raise bad_request(f"{operator} has {len(values)} values, which are too many or too few")
    return _COMPARISONS[operator](column, [parse_value(column, value) for value in values])


_COMPARISONS: Mapping[str, Callable[[KeyedColumnElement[Any], list[Any]], ColumnElement[bool]]] = {
    "eq": lambda column, values: column == values[0],
    "neq": lambda column, values: column != values[0],
    "gt": lambda column, values: column > values[0],
    "gte": lambda column, values: column >= values[0],
    "lt": lambda column, values: column < values[0],
    "lte": lambda column, values: column <= values[0],
    "in": lambda column, values: column.in_(values),
    "nin": lambda column, values: column.not_in(values),
    "between": lambda column, values: column.between(values[0], values[1]),
    "nbetween": lambda column, values: ~column.between(values[0], values[1]),
}


def like(attribute: str, pattern: Pattern, *, is_sqlite: bool, negate: bool = False) -> ColumnElement[bool]:
    """Make the comparison of an attribute with a pattern, case-sensitively on both stores.

    Raises:
        ApiError: 400, the attribute is no text.
    """
    column = column_of(attribute)
    if isinstance(column.type, Boolean | Integer | UtcDateTime):
        raise bad_request(f"{attribute} is no text, and cannot be compared by like")
    if any(isinstance(part, str) and "\x00" in part for part in pattern):
        raise bad_request("a value must not hold the character U+0000")
    if is_sqlite:
        # SQLite's LIKE ignores case.
        glob = _render(pattern, _GLOB, lambda text: _GLOB_SPECIAL.sub(r"[\g<0>]", text))
        found: ColumnElement[bool] = column.bool_op("GLOB")(glob)
    else:
        text = _render(pattern, _LIKE, lambda text: _LIKE_SPECIAL.sub(r"\\\g<0>", text))
        found = column.like(text, escape="\\")
    return ~found if negate else found


_GLOB = {Wildcard.ANY: "*", Wildcard.ONE: "?"}
_GLOB_SPECIAL = re.compile(r"[*?\[]")
_LIKE = {Wildcard.ANY: "%", Wildcard.ONE: "_"}
_LIKE_SPECIAL = re.compile(r"[%_\\]")


def _render(pattern: Pattern, wildcards: Mapping[Wildcard, str], escape: Callable[[str], str]) -> str:
    return "".join(wildcards[part] if isinstance(part, Wildcard) else escape(part) for part in pattern)


def _parse_time(text: str) -> datetime:
    """Read a time. All parts behind the year are optional; a time without an offset is in UTC."""
    refused = bad_request(f"{text:.80} is no time such as 2024-04-01T12:00:00Z, 2024-04 or 2024")
    if (found := _TIME.fullmatch(text)) is None:
        raise refused
    try:
        year, month, day, hour, minute, second, fraction, offset = found.groups()
        time = datetime(
            int(year),
            int(month or 1),
            int(day or 1),
            int(hour or 0),
            int(minute or 0),
            int(second or 0),
            int((fraction or "0")[:6].ljust(6, "0")),
            tzinfo=UTC,
        )
        return time - _parse_offset(offset)
    except (ValueError, OverflowError):
        raise refused from None


def _parse_offset(text: str | None) -> timedelta:
    if text is None or text == "Z":
        return timedelta()
    digits = text[1:].replace(":", "").ljust(4, "0")
    size = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return -size if text[0] == "-" else size
