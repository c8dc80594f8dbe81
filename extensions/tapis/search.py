"""The search conditions of query parameters: ``(name.like.a*)~(enabled.eq.true)`` (Tapis, live docs: Searching)."""

import re
from collections.abc import Sequence

from sqlalchemy import ColumnElement

from .conditions import MAX_CONDITIONS, OPERATORS, Pattern, Wildcard, compare, like
from .envelope import bad_request

MAX_LENGTH = 20_000

# A character, with the backslash that escapes it; any other backslash stands for itself.
_CHARACTER = re.compile(r"\\[~,()*!\\]|.", re.DOTALL)

_FORM = "conditions are written (name.eq.a)~(enabled.eq.true), and ~ , ( ) within them with a backslash before"

_WILDCARDS = {"*": Wildcard.ANY, "!": Wildcard.ONE}


def parse_search(text: str, *, is_sqlite: bool) -> list[ColumnElement[bool]]:
    """Return the conditions of the parameter ``search``; all of them have to be met.

    Args:
        text: one condition, with or without parentheses, or several joined by ``~``.
        is_sqlite: True for SQLite, False for PostgreSQL.

    Raises:
        ApiError: 400, the text is not valid.
    """
    parts = _split(text)
    if len(parts) > MAX_CONDITIONS:
        raise bad_request(f"a search has {MAX_CONDITIONS} conditions at most")
    return [_condition(part, is_sqlite=is_sqlite) for part in parts]


def condition(key: str, value: str, *, is_sqlite: bool) -> ColumnElement[bool]:
    """Return the condition of a query parameter such as ``name.like=a*``.

    Raises:
        ApiError: 400, the parameter is not a condition.
    """
    attribute, dot, operator = key.partition(".")
    operator = operator.lower()
    if not dot or operator not in OPERATORS:
        raise bad_request(f"{key:.80} is neither a parameter nor a condition such as name.eq")
    if not value or len(value) > MAX_LENGTH:
        raise bad_request(f"{key:.80} needs a value of at most {MAX_LENGTH} characters")
    characters = _CHARACTER.findall(value)
    if operator in {"like", "nlike"}:
        return like(attribute, _pattern(characters), is_sqlite=is_sqlite, negate=operator == "nlike")
    if operator in {"in", "nin", "between", "nbetween"}:
        return compare(attribute, operator, _values(characters))
    return compare(attribute, operator, ["".join(character[-1] for character in characters)])


def _split(text: str) -> list[str]:
    """Split a text into its conditions, without the parentheses around them and the ``~`` between them."""
    if len(text) > MAX_LENGTH:
        raise bad_request(f"a search has {MAX_LENGTH} characters at most")
    if not text.startswith("("):
        if not {"(", ")", "~"}.isdisjoint(_CHARACTER.findall(text)):
            raise bad_request(_FORM)
        return [text]
    parts: list[str] = []
    before = "~"  # the separator before the next condition; empty within a condition
    for character in _CHARACTER.findall(text):
        if not before:
            if character in {"(", "~"}:
                raise bad_request(_FORM)
            if character == ")":
                before = character
            else:
                parts[-1] += character
        elif before == "~" and character == "(":
            before = ""
            parts.append("")
        elif before == ")" and character == "~":
            before = character
        else:
            raise bad_request(_FORM)
    if before != ")":
        raise bad_request(_FORM)
    return parts


def _condition(text: str, *, is_sqlite: bool) -> ColumnElement[bool]:
    attribute, _, rest = text.strip().partition(".")
    operator, dot, value = rest.partition(".")
    if not dot:
        raise bad_request(
            f"{text:.80} is no condition: it has an attribute, an operator and a value, such as name.eq.a"
        )
    return condition(f"{attribute}.{operator}", value, is_sqlite=is_sqlite)


def _pattern(characters: Sequence[str]) -> Pattern:
    parts: list[str | Wildcard] = []
    for character in characters:
        part = _WILDCARDS.get(character, character[-1])
        if part is not Wildcard.ANY or parts[-1:] != [Wildcard.ANY]:
            parts.append(part)
    return parts


def _values(characters: Sequence[str]) -> list[str]:
    values: list[list[str]] = [[]]
    for character in characters:
        if character == ",":
            values.append([])
        else:
            values[-1].append(character[-1])
    return ["".join(value) for value in values]
