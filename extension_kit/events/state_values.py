"""State values: the keys and values of an extension's state, their limits, and changes on top of others."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol

import orjson

MAX_KEY = 200
"""Maximum number of characters of a key."""

MAX_VALUE = 64 * 1024
"""Maximum number of bytes of a value in JSON."""

MAX_KEYS = 100_000
"""Maximum number of keys of an extension, and of those that are listed at once."""

# Without these options orjson writes texts for values that are read as something else.
_JSON_ONLY = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_SUBCLASS

MAX_NUMBER = 1e100
"""Size of the largest number that is added to a sum: so small that databases hold every sum."""

_NOT_STORED = re.compile("[\x00\ud800-\udfff]")


class Change(NamedTuple):
    """The new value of a key.

    Attributes:
        value: in JSON; None: the key is removed.
        expires_at: the time from which the value counts as removed.
    """

    value: bytes | None
    expires_at: datetime


class Addition(NamedTuple):
    """A number to be added to the sum of a key.

    Attributes:
        number: the number.
        expires_at: the time from which the sum counts as 0, unless more is added before.
    """

    number: float
    expires_at: datetime


class StateReader(Protocol):
    """Reads the values of an extension."""

    def find(self, key: str) -> bytes | None:
        """Return the value of a key in JSON; None without one."""
        ...

    def keys(self, prefix: str, limit: int) -> list[str]:
        """Return the first keys with a prefix, sorted."""
        ...

    def sums(self, prefix: str, limit: int) -> dict[str, float]:
        """Return the first sums with a prefix by key, sorted."""
        ...

    def has_room_for(self, key: str) -> bool:
        """Return False if the extension has as many keys as it may have, and this one is new."""
        ...


class ChangedState:
    """The values that a reader finds, with changes on top.

    Args:
        below: finds the values without the changes.
        changes: the changes by key.
    """

    def __init__(self, below: StateReader, changes: Mapping[str, Change]) -> None:
        self._below = below
        self._changes = changes

    def find(self, key: str) -> bytes | None:
        """Return the value of a key in JSON; None without one."""
        change = self._changes.get(key)
        if change is None:
            return self._below.find(key)
        return change.value if change.expires_at > datetime.now(UTC) else None

    def keys(self, prefix: str, limit: int) -> list[str]:
        """Return the first keys with a prefix, sorted."""
        now = datetime.now(UTC)
        changes = {key: change for key, change in dict(self._changes).items() if key.startswith(prefix)}
        found = set(self._below.keys(prefix, limit + len(changes))) - changes.keys()
        found |= {key for key, change in changes.items() if change.value is not None and change.expires_at > now}
        return sorted(found)[:limit]

    def sums(self, prefix: str, limit: int) -> dict[str, float]:
        """Return the first sums with a prefix by key, sorted, without additions that are not written."""
        return self._below.sums(prefix, limit)

    def has_room_for(self, key: str) -> bool:
        """Return False if the extension has as many keys as it may have, and this one is new."""
        return key in self._changes or self._below.has_room_for(key)


def encode(key: str, value: Any) -> bytes:
    """Return a value in JSON.

    Raises:
        TypeError: it is no JSON data.
        ValueError: it is too large.
    """
    try:
        written = orjson.dumps(value, option=_JSON_ONLY)
    except TypeError as error:
        raise TypeError(f"the value of {key!r} is no JSON data: {error}") from None
    if len(written) > MAX_VALUE:
        raise ValueError(f"the value of {key!r} has {len(written)} bytes in JSON: at most {MAX_VALUE} are kept")
    return written


def check_key(key: str) -> None:
    """Refuse a key that cannot be kept.

    Raises:
        TypeError: it is no text.
        ValueError: it is empty or too long, or a database does not store its characters.
    """
    if not isinstance(key, str):
        raise TypeError(f"a key is a text, not {key!r:.80}")
    if not 1 <= len(key) <= MAX_KEY:
        raise ValueError(f"a key has 1 to {MAX_KEY} characters, not {len(key)}")
    if _NOT_STORED.search(key):
        raise ValueError(f"the key {key!r} holds characters that a database does not store")


def check_selection(prefix: str, limit: int) -> None:
    """Refuse a prefix or a number of keys that cannot be.

    Raises:
        TypeError: the prefix is no text, or the limit no whole number.
        ValueError: one of them is out of range.
    """
    if prefix != "":
        check_key(prefix)
    if isinstance(limit, bool) or not isinstance(limit, int):
        raise TypeError(f"limit is a whole number, not {limit!r:.80}")
    if not 1 <= limit <= MAX_KEYS:
        raise ValueError(f"limit is a number from 1 to {MAX_KEYS}, not {limit}")
