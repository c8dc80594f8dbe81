"""Event-name patterns, and the index that matches one name against many of them.

An event name is made of parts joined by dots. A pattern is a name in which a part may be ``*``: one part, any; as the
last part of a pattern, one part or more. So ``*`` alone matches every name, and ``experiment.execution.*`` every name
that begins with ``experiment.execution.``.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import count
from typing import Generic, TypeVar

from extension_kit.errors import RegistrationError
from extension_kit.settings.declare import Kind, Refusal
from extension_kit.settings.kinds import split_names

MAX_LENGTH = 256
MAX_PARTS = 16
MAX_INNER_WILDCARDS = 3
_PART = re.compile(r"[^\s.*]+")

T = TypeVar("T")


def check_pattern(pattern: object) -> str:
    """Return the pattern if it is valid.

    The number of ``*`` before the last part is limited because each of them doubles the branches of a look-up; with
    three of them a look-up takes some hundred steps at most, for any set of patterns.

    Raises:
        RegistrationError: the pattern is not a text, is empty or too long, or has an empty part or a part such as
            ``step-*``.
    """
    if not isinstance(pattern, str):
        raise RegistrationError(f"an event name is a text, not {pattern!r}")
    parts = pattern.split(".")
    if not pattern or len(pattern) > MAX_LENGTH or len(parts) > MAX_PARTS:
        raise RegistrationError(
            f"an event name has 1 to {MAX_LENGTH} characters in up to {MAX_PARTS} parts, not {pattern[:80]!r}"
        )
    for part in parts:
        if part != "*" and not _PART.fullmatch(part):
            raise RegistrationError(
                f"{pattern!r} is not an event name: parts are joined by single dots, hold no blanks, and * stands for "
                "a whole part"
            )
    if parts[:-1].count("*") > MAX_INNER_WILDCARDS:
        raise RegistrationError(f"{pattern!r} has more than {MAX_INNER_WILDCARDS} times * before its last part")
    return pattern


def _event_names(text: str) -> tuple[str, ...]:
    names = split_names(text)
    try:
        return tuple(map(check_pattern, names))
    except RegistrationError as error:
        raise Refusal(str(error)) from None


EVENT_NAMES = Kind(_event_names, "names of events, or patterns such as experiment.execution.*, separated by commas")
"""The kind of a setting whose value is the event-name patterns for ``listen_to``."""


class _Node(Generic[T]):
    """A node in the tree of pattern parts."""

    __slots__ = ("children", "here", "onwards")

    def __init__(self) -> None:
        self.children: dict[str, _Node[T]] = {}
        self.here: list[tuple[int, T]] = []  # patterns that end at this part
        self.onwards: list[tuple[int, T]] = []  # patterns that end with * behind this part


class PatternIndex(Generic[T]):
    """Index of values by pattern; a look-up returns all values with a matching pattern, in the order of addition.

    Exact names are looked up in a dict, patterns in a tree by part. Results are cached by name.
    """

    _REMEMBERED = 4096

    def __init__(self) -> None:
        self._exact: dict[str, list[tuple[int, T]]] = {}
        self._root: _Node[T] = _Node()
        self._order = count()
        self._seen: dict[str, tuple[T, ...]] = {}

    def add(self, patterns: Iterable[str], value: T) -> None:
        """Add a value under one or more patterns; a look-up returns it once even if several of them match.

        Raises:
            RegistrationError: a pattern is not valid.
        """
        entry = (next(self._order), value)
        for pattern in [check_pattern(pattern) for pattern in patterns]:
            if "*" not in pattern:
                self._exact.setdefault(pattern, []).append(entry)
                continue
            *parts, last = pattern.split(".")
            node = self._root
            for part in parts:
                node = node.children.setdefault(part, _Node())
            if last == "*":
                node.onwards.append(entry)
            else:
                node.children.setdefault(last, _Node()).here.append(entry)
        self._seen.clear()

    def match(self, name: str) -> tuple[T, ...]:
        """Return the values with a pattern that matches the name, oldest first."""
        try:
            return self._seen[name]
        except KeyError:
            pass
        found = {**dict(self._exact.get(name, ())), **dict(self._walk(name))}
        values = tuple(found[order] for order in sorted(found))
        # Names come from outside: neither many nor long ones may fill the memory.
        if len(name) <= MAX_LENGTH:
            if len(self._seen) >= self._REMEMBERED:
                self._seen.clear()
            self._seen[name] = values
        return values

    def _walk(self, name: str) -> Iterator[tuple[int, T]]:
        if not name:
            return
        parts = name.split(".", MAX_PARTS)
        waiting = [(self._root, 0)]
        while waiting:
            node, depth = waiting.pop()
            if depth == len(parts):
                yield from node.here
                continue
            yield from node.onwards
            children = map(node.children.get, (parts[depth], "*"))
            waiting.extend((child, depth + 1) for child in children if child)
