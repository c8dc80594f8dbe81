"""Text conditions: names that match a pattern as ``events.patterns`` matches them, texts that begin with another."""

import re
from typing import Any

from sqlalchemy import Boolean, Column, String, and_, bindparam
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import ColumnElement

from extension_kit.events.patterns import MAX_PARTS, check_pattern

_LAST_CHARACTER = "\U0010ffff"
_SURROGATES = range(0xD800, 0xE000)  # no characters
_SPECIAL = re.compile(r"[\[?]")  # a pattern's star is a whole part


def begins_with(column: ColumnElement[Any], text: str) -> ColumnElement[bool]:
    """Return the condition that a column which is sorted by its bytes begins with a text. An index can be used for it.

    Args:
        column: of texts; on PostgreSQL with the collation ``C``.
        text: its characters are compared exactly. The empty text is the beginning of all.
    """
    head = text.rstrip(_LAST_CHARACTER)
    if not head:
        return column >= text
    following = ord(head[-1]) + 1
    following = _SURROGATES.stop if following in _SURROGATES else following
    return and_(column >= text, column < head[:-1] + chr(following))


class MatchesPattern(ColumnElement[bool]):
    """Condition that a column of event names matches a pattern.

    PostgreSQL gets a regular expression. SQLite, which has none, gets globs, in which a star stands for any text, and
    the number of dots: with as many dots as the pattern has, no star can stand for one.

    Args:
        column: of names.
        pattern: such as ``experiment.execution.*``.

    Raises:
        RegistrationError: the pattern is not valid.
    """

    inherit_cache = False
    type = Boolean()
    _is_implicitly_boolean = True

    def __init__(self, column: Column[Any], pattern: str) -> None:
        self.column = column
        *self._parts, self._last = check_pattern(pattern).split(".")

    def regular_expression(self) -> str:
        """Return the pattern as a regular expression."""
        parts = [r"[^.]+" if part == "*" else re.escape(part) for part in self._parts]
        whole = r"\.".join([*parts, ".+" if self._last == "*" else re.escape(self._last)])
        return f"^{whole}$"

    def globs(self) -> list[tuple[str, int | None]]:
        """Return the pattern as globs, with the number of dots of the names that each is for; None: any."""
        parts = ["?*" if part == "*" else _SPECIAL.sub(r"[\g<0>]", part) for part in self._parts]
        if self._last != "*":
            return [(".".join([*parts, _SPECIAL.sub(r"[\g<0>]", self._last)]), len(parts))]
        if "*" not in self._parts:
            return [(".".join([*parts, "?*"]), None)]
        more = range(MAX_PARTS - len(parts))
        return [(".".join([*parts, *["?*"] * (number + 1)]), len(parts) + number) for number in more]


@compiles(MatchesPattern, "postgresql")
def _on_postgresql(element: MatchesPattern, compiler: SQLCompiler, **options: Any) -> str:
    column = compiler.process(element.column, **options)
    value = compiler.process(bindparam(None, element.regular_expression(), String(), unique=True), **options)
    return f"{column} ~ {value}"


@compiles(MatchesPattern, "sqlite")
def _on_sqlite(element: MatchesPattern, compiler: SQLCompiler, **options: Any) -> str:
    column = compiler.process(element.column, **options)
    conditions = []
    for glob, dots in element.globs():
        value = compiler.process(bindparam(None, glob, String(), unique=True), **options)
        of_dots = "" if dots is None else f" AND length({column}) - length(replace({column}, '.', '')) = {dots:d}"
        conditions.append(f"{column} GLOB {value}{of_dots}")
    return f"({' OR '.join(conditions)})"
