"""Paths of placeholders: JSONPath (RFC 9535) into an event, with eventhos's names that have hyphens."""

import re
from collections.abc import Iterator
from math import prod
from typing import Any

from jsonpath_rfc9535 import JSONPathEnvironment, JSONPathError, JSONPathQuery
from jsonpath_rfc9535.filter_expressions import Expression, FilterContext, FilterQuery, RootFilterQuery
from jsonpath_rfc9535.node import JSONPathNode
from jsonpath_rfc9535.segments import JSONPathRecursiveDescentSegment
from jsonpath_rfc9535.selectors import FilterSelector, IndexSelector, JSONPathSelector, NameSelector

from .work import spend

MISSING: Any = object()
"""Result of a path that finds nothing; JSON's null is None."""

MOST_CHARACTERS = 500
"""Maximum characters of a path."""

_MOST_BRANCHES = 100
_STEPS_OF_VALUE = 5

_QUOTED_OR_BRACKET = re.compile(r"""("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|\[|\])""")
_HYPHENATED = re.compile(r"(?:(\.\.)|\.)([\w-]*-[\w-]*)")


class _Environment(JSONPathEnvironment):
    """JSONPath without regular expressions, whose time has no bound."""

    def setup_function_extensions(self) -> None:
        super().setup_function_extensions()
        for name in ("match", "search"):
            del self.function_extensions[name]


_environment = _Environment()


class Path:
    """A path that finds a value of an event.

    Args:
        text: JSONPath without its ``$``, such as ``.body.items[0].name``. A name after a dot may have hyphens.

    Raises:
        ValueError: it is no path, or one whose time grows faster than the event. The message gives the reason.
    """

    def __init__(self, text: str) -> None:
        if len(text) > MOST_CHARACTERS:
            raise ValueError(f"a path has at most {MOST_CHARACTERS} characters")
        try:
            self._query = _environment.compile("$" + _with_quoted_names(text))
        except (JSONPathError, RecursionError) as error:
            raise ValueError(f"{text!r} is no JSONPath: {error.args[0]}") from None
        _check_cost(self._query)
        self._keys = _keys(self._query)
        if self._keys is None:
            _count(self._query)

    def find(self, value: Any) -> Any:
        """Return the first match in a JSON value; ``MISSING`` if there is none.

        Raises:
            ValueError: the value is nested too deep for a path with ``..``, or the search takes too much work.
        """
        if self._keys is not None:
            return _follow(value, self._keys)
        try:
            node = self._query.find_one(value)
        except JSONPathError as error:
            raise ValueError(f"{error.args[0]}") from None
        return MISSING if node is None else node.value


def _with_quoted_names(text: str) -> str:
    """Return a path with names that have hyphens in brackets, as RFC 9535 has them."""
    depth, parts = 0, []
    for part in _QUOTED_OR_BRACKET.split(text):
        depth += {"[": 1, "]": -1}.get(part, 0)
        parts.append(part if depth > 0 else _HYPHENATED.sub(r"\1['\2']", part))
    return "".join(parts)


def _check_cost(query: JSONPathQuery) -> None:
    """Refuse a path that may visit parts of an event again and again.

    Raises:
        ValueError: it has several ``..``, a ``..`` or a filter within a filter, or too many alternatives.
    """
    if sum(isinstance(segment, JSONPathRecursiveDescentSegment) for segment in query.segments) > 1:
        raise ValueError("a path has at most one '..'")
    if prod(len(segment.selectors) for segment in query.segments) > _MOST_BRANCHES:
        raise ValueError(f"a path has at most {_MOST_BRANCHES} alternatives")
    for segment in query.segments:
        for selector in segment.selectors:
            if isinstance(selector, FilterSelector):
                _check_filter(selector.expression)


def _check_filter(expression: Expression) -> None:
    for found in _queries(expression):
        segments = found.query.segments
        if any(isinstance(segment, JSONPathRecursiveDescentSegment) for segment in segments):
            raise ValueError("a filter has no '..'")
        if any(isinstance(each, FilterSelector) for segment in segments for each in segment.selectors):
            raise ValueError("a filter has no filter in it")
        if isinstance(found, RootFilterQuery) and _keys(found.query) is None:
            raise ValueError("'$' in a filter is followed by single names and indexes")


def _queries(expression: Expression) -> Iterator[FilterQuery]:
    if isinstance(expression, FilterQuery):
        yield expression
        return
    parts = [getattr(expression, name, None) for name in ("expression", "left", "right")]
    for part in (*parts, *getattr(expression, "args", ())):
        if isinstance(part, Expression):
            yield from _queries(part)


def _keys(query: JSONPathQuery) -> tuple[str | int, ...] | None:
    """Return the keys of a path of single names and indexes, which is followed much faster; None for others."""
    keys: list[str | int] = []
    for segment in query.segments:
        if isinstance(segment, JSONPathRecursiveDescentSegment) or len(segment.selectors) != 1:
            return None
        (selector,) = segment.selectors
        if isinstance(selector, NameSelector):
            keys.append(selector.name)
        elif isinstance(selector, IndexSelector):
            keys.append(selector.index)
        else:
            return None
    return tuple(keys)


def _follow(value: Any, keys: tuple[str | int, ...]) -> Any:
    for key in keys:
        if isinstance(key, str):
            value = value.get(key, MISSING) if isinstance(value, dict) else MISSING
        elif isinstance(value, list) and -len(value) <= key < len(value):
            value = value[key]
        else:
            return MISSING
    return value


class _Counted(JSONPathSelector):
    """A selector that spends work for what it looks at."""

    def __init__(self, selector: JSONPathSelector) -> None:
        super().__init__(env=selector.env, token=selector.token)
        self._selector = selector

    def resolve(self, node: JSONPathNode) -> Iterator[JSONPathNode]:
        """Return the selected values of one value."""
        # A segment with ``..`` looks at each member, too.
        spend(_STEPS_OF_VALUE + (len(node.value) // 16 if isinstance(node.value, dict | list) else 0))
        for found in self._selector.resolve(node):
            spend(_STEPS_OF_VALUE)
            yield found


class _CountedFilter(FilterSelector):
    """A filter that spends work for each value that it checks."""

    def __init__(self, selector: FilterSelector) -> None:
        super().__init__(env=selector.env, token=selector.token, expression=selector.expression)
        queries = list(_queries(selector.expression))
        for found in queries:
            _count(found.query)
        self._steps = _STEPS_OF_VALUE * (1 + 3 * len(queries))

    def resolve(self, node: JSONPathNode) -> Iterator[JSONPathNode]:
        """Return the members of one value that the filter admits."""
        spend(_STEPS_OF_VALUE)
        value = node.value
        members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, member in members:
            spend(self._steps)
            if self.expression.evaluate(FilterContext(env=self.env, current=member, root=node.root)):
                yield node.new_child(member, key, node)


def _count(query: JSONPathQuery) -> None:
    """Have the selectors of a query spend work, but for those that look at one value."""
    for segment in query.segments:
        is_descent = isinstance(segment, JSONPathRecursiveDescentSegment)
        segment.selectors = tuple(
            _CountedFilter(each)
            if isinstance(each, FilterSelector)
            else each
            if isinstance(each, NameSelector | IndexSelector) and not is_descent
            else _Counted(each)
            for each in segment.selectors
        )
