"""What of a body may be logged: no secrets, and not too much."""

import itertools
import re
from collections.abc import Mapping
from typing import Any

# What is left of a string and of a list, and the keys whose values are hidden.
_CHARACTERS, _ITEMS = 200, 20
_SECRET = re.compile("passw|pwd|passphrase|secret|token|authorization|apikey|accesskey|privatekey|credential|cookie")


def redact(data: object, depth: int = 10) -> Any:
    """A copy of JSON-like data that may be logged: secrets replaced, long strings and lists cut, ``depth`` levels deep.

    A value is secret by its key's name, whatever the case and the separators: ``apiKey``, ``API_KEY``, ``x-api-key``.
    """
    if data is None or isinstance(data, int | float):
        return data
    if isinstance(data, Mapping | list | tuple) and depth == 0:
        return "..."
    if isinstance(data, Mapping):
        shown = {
            _cut(str(key)): "***" if _is_secret(str(key)) else redact(value, depth - 1)
            for key, value in itertools.islice(data.items(), _ITEMS)
        }
        return shown if len(data) <= _ITEMS else shown | {"...": f"{len(data) - _ITEMS} more"}
    if isinstance(data, list | tuple):
        more = [f"... {len(data) - _ITEMS} more"] if len(data) > _ITEMS else []
        return [redact(item, depth - 1) for item in data[:_ITEMS]] + more
    return _cut(str(data))


def _is_secret(key: str) -> bool:
    return bool(_SECRET.search(re.sub("[^a-z0-9]", "", key.lower())))


def _cut(text: str) -> str:
    return text if len(text) <= _CHARACTERS else f"{text[:_CHARACTERS]}... {len(text) - _CHARACTERS} more"
