"""Nesting of JSON values: orjson reads deeper values than it writes, and the log shows them within others."""

from typing import Any

import orjson

_LEVELS = 6  # around an event or an answer in an answer of the API, and to spare


def write_nested(value: Any) -> bytes:
    """Return a value as JSON, if it can be written within other values, too.

    Raises:
        TypeError: it is nested too deep, by 249 levels or more.
    """
    return orjson.dumps(_within(value))[_LEVELS:-_LEVELS]


def _within(value: Any) -> Any:
    for _ in range(_LEVELS):
        value = [value]
    return value
