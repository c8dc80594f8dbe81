"""The search conditions of request bodies: ``name = 'a' AND (enabled = 'false' OR owner LIKE 'a%')``.

The language is a small part of SQL (Tapis, live docs: Dedicated search endpoints). No part of the text becomes part of
a statement: names are looked up, and values are passed as parameters.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

from sqlalchemy import ColumnElement, and_, not_, or_

from .conditions import MAX_CONDITIONS, Pattern, Wildcard, column_of, compare, like
from .envelope import bad_request

MAX_LENGTH = 20_000
_MAX_DEPTH = 20

_TOKEN = re.compile(
    r"\s*(?:(?P<word>[A-Za-z_][A-Za-z0-9_]*)|(?P<text>'(?:[^']|'')*')|(?P<number>[+-]?[0-9]+)"
    r"|(?P<sign><>|!=|<=|>=|[=<>(),]))"
)
_COMPARISONS = {"=": "eq", "<>": "neq", "!=": "neq", "<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}
_KEYWORDS = frozenset({"AND", "OR", "NOT", "LIKE", "IN", "BETWEEN", "IS", "NULL", "ESCAPE", "TRUE", "FALSE"})
_WILDCARDS = {"%": Wildcard.ANY, "_": Wildcard.ONE}


class _Token(NamedTuple):
    kind: str
    text: str


_END = _Token("end", "the end")


def parse_selector(text: str, *, is_sqlite: bool) -> ColumnElement[bool]:
    """Return the condition of a text.

    Args:
        text: comparisons of attributes with values, joined by AND, OR, NOT and parentheses.
        is_sqlite: True for SQLite, False for PostgreSQL.

    Raises:
        ApiError: 400, the text is not valid.
    """
    if len(text) > MAX_LENGTH:
        raise bad_request(f"a search has {MAX_LENGTH} characters at most")
    return _Parser(_tokens(text), is_sqlite=is_sqlite).parse()


def _tokens(text: str) -> list[_Token]:
    tokens = []
    text = text.strip()
    place = 0
    while place < len(text):
        if (found := _TOKEN.match(text, place)) is None:
            raise bad_request(f"the search cannot be read from {text[place : place + 20]!r} on")
        kind = str(found.lastgroup)
        token = found[kind]
        if kind == "word" and token.upper() in _KEYWORDS:
            kind, token = "keyword", token.upper()
        tokens.append(_Token(kind, token))
        place = found.end()
    return [*tokens, _END]


class _Parser:
    """A recursive descent parser: reads the tokens in order and refuses an unexpected one."""

    def __init__(self, tokens: list[_Token], *, is_sqlite: bool) -> None:
        self._tokens = tokens
        self._is_sqlite = is_sqlite
        self._place = 0
        self._comparisons = 0

    def parse(self) -> ColumnElement[bool]:
        condition = self._either(0)
        self._expect(_END.text)
        return condition

    def _either(self, depth: int) -> ColumnElement[bool]:
        return or_(*self._joined("OR", lambda: self._both(depth)))

    def _both(self, depth: int) -> ColumnElement[bool]:
        return and_(*self._joined("AND", lambda: self._single(depth)))

    def _joined(self, keyword: str, read: Callable[[], ColumnElement[bool]]) -> list[ColumnElement[bool]]:
        parts = [read()]
        while self._skip(keyword):
            parts.append(read())
        return parts

    def _single(self, depth: int) -> ColumnElement[bool]:
        if depth > _MAX_DEPTH:
            raise bad_request(f"parentheses and NOT are nested more than {_MAX_DEPTH} deep")
        if self._skip("NOT"):
            return not_(self._single(depth + 1))
        if self._skip("("):
            inner = self._either(depth + 1)
            self._expect(")")
            return inner.self_group()
        return self._comparison()

    def _comparison(self) -> ColumnElement[bool]:
        self._comparisons += 1
        if self._comparisons > MAX_CONDITIONS:
            raise bad_request(f"a search has {MAX_CONDITIONS} comparisons at most")
        attribute = self._next("word", "the name of an attribute")
        if (operator := _COMPARISONS.get(self._tokens[self._place].text)) and self._skip():
            return compare(attribute, operator, [self._value()])
        if self._skip("IS"):
            negate = self._skip("NOT")
            self._expect("NULL")
            column = column_of(attribute)
            return column.is_not(None) if negate else column.is_(None)
        negate = self._skip("NOT")
        if self._skip("LIKE"):
            return like(attribute, self._pattern(), is_sqlite=self._is_sqlite, negate=negate)
        if self._skip("IN"):
            return compare(attribute, "nin" if negate else "in", self._list())
        self._expect("BETWEEN")
        low = self._value()
        self._expect("AND")
        return compare(attribute, "nbetween" if negate else "between", [low, self._value()])

    def _list(self) -> list[str]:
        self._expect("(")
        values = [self._value()]
        while self._skip(","):
            values.append(self._value())
        self._expect(")")
        return values

    def _value(self) -> str:
        token = self._tokens[self._place]
        if token.kind == "text":
            return _content(self._next("text", "a value"))
        if token.text in {"TRUE", "FALSE"} and token.kind == "keyword":
            return self._next("keyword", "a value")
        return self._next("number", "a value such as 'a', 1 or true")

    def _pattern(self) -> Pattern:
        text = _content(self._next("text", "a pattern such as 'a%'"))
        escape = _content(self._next("text", "a character such as '!'")) if self._skip("ESCAPE") else ""
        if len(escape) > 1:
            raise bad_request("ESCAPE is followed by one character")
        parts: list[str | Wildcard] = []
        characters = iter(text)
        for character in characters:
            if character == escape:
                parts.append(next(characters, escape))
            elif character != "%" or parts[-1:] != [Wildcard.ANY]:
                parts.append(_WILDCARDS.get(character, character))
        return parts

    def _skip(self, text: str | None = None) -> bool:
        """Skip the next token, if it is ``text`` or ``text`` is None; return True if it was skipped."""
        token = self._tokens[self._place]
        if text is not None and (token.text != text or token.kind in {"text", "end"}):
            return False
        self._place += 1
        return True

    def _next(self, kind: str, wanted: str) -> str:
        token = self._tokens[self._place]
        if token.kind != kind:
            raise bad_request(f"{wanted} is needed in the search where {token.text:.40} is")
        self._place += 1
        return token.text

    def _expect(self, text: str) -> None:
        token = self._tokens[self._place]
        if token.text != text or token.kind == "text":
            raise bad_request(f"{text} is needed in the search where {token.text:.40} is")
        self._place += 1


def _content(text: str) -> str:
    return text[1:-1].replace("''", "'")
