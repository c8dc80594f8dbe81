"""Redaction: bodies without secrets and shortened, for logs and displays."""

import itertools
import re
from collections.abc import Mapping
from typing import Any

# Limits of a string and of a list, and the keys with hidden values.
_CHARACTERS, _ITEMS = 200, 20
_SECRET = re.compile("passw|pwd|passphrase|secret|token|authorization|apikey|accesskey|privatekey|credential|cookie")
# Secrets within a text: passwords in URLs, bearer tokens, JSON web tokens.
_IN_TEXT = (
    (re.compile(r"(?<=://)[^/\s@]+(?=@)"), "***"),
    (re.compile(r"(?i)\b(bearer) +[a-z0-9._~+/-]{8,}=*"), r"\1 ***"),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*"), "***"),
)
_NAMES, _VALUE = ("name", "key"), "value"
"""Keys of an object that represents a pair, such as ``{"name": "API_TOKEN", "value": "..."}``."""


def redact(data: object, depth: int = 10) -> Any:
    """Return a copy of JSON-like data for logs: secrets replaced, long strings and lists cut, ``depth`` levels deep.

    A value is secret by the name of its key, in any case and with any separators: ``apiKey``, ``API_KEY``,
    ``x-api-key``; also in pairs of name and value. In other texts, passwords and tokens are hidden where recognised.
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
    """Hide the secrets in a text, then shorten it: a secret cut in two might not be recognised."""
    shown = text[: 10 * _CHARACTERS]
    for pattern, instead in _IN_TEXT:
        shown = pattern.sub(instead, shown)
    return shown if len(text) <= _CHARACTERS else f"{shown[:_CHARACTERS]}... {len(text) - _CHARACTERS} more"
