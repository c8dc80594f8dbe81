"""What of a body may be logged: no secrets, and not too much."""

import itertools
import re
from collections.abc import Mapping
from typing import Any

# What is left of a string and of a list, and the keys whose values are hidden.
_CHARACTERS, _ITEMS = 200, 20
_SECRET = re.compile("passw|pwd|passphrase|secret|token|authorization|apikey|accesskey|privatekey|credential|cookie")
# Secrets in the middle of a text: of a URL, of a header, and tokens that show what they are.
_IN_TEXT = (
    (re.compile(r"(?<=://)[^/\s@]+(?=@)"), "***"),
    (re.compile(r"(?i)\b(bearer) +[a-z0-9._~+/-]{8,}=*"), r"\1 ***"),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*"), "***"),
)
_NAMES, _VALUE = ("name", "key"), "value"
"""Keys of an object that stands for a pair, such as ``{"name": "API_TOKEN", "value": "..."}``."""


def redact(data: object, depth: int = 10) -> Any:
    """A copy of JSON-like data that may be logged: secrets replaced, long strings and lists cut, ``depth`` levels deep.

    A value is secret by its key's name, whatever the case and the separators: ``apiKey``, ``API_KEY``, ``x-api-key``;
    also where name and value stand beside each other. Of other texts, what looks like a password or a token is hidden.
    """
    if data is None or isinstance(data, int | float):
        return data
    if isinstance(data, Mapping | list | tuple) and depth == 0:
        return "..."
    if isinstance(data, Mapping):
        names_a_secret = any(_is_secret(str(data[name])) for name in _NAMES if name in data)
        shown = {
            _cut(str(key)): "***"
            if _is_secret(str(key)) or (key == _VALUE and names_a_secret)
            else redact(value, depth - 1)
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
    """Shorten a text, once the secrets are out of its beginning: cut in two, they might not be seen any more."""
    shown = text[: 10 * _CHARACTERS]
    for pattern, instead in _IN_TEXT:
        shown = pattern.sub(instead, shown)
    return shown if len(text) <= _CHARACTERS else f"{shown[:_CHARACTERS]}... {len(text) - _CHARACTERS} more"
