"""Redaction: bodies and texts without secrets and shortened, for logs, displays and the event log."""

import itertools
import re
from collections.abc import Mapping
from typing import Any, NamedTuple


class Limits(NamedTuple):
    """Limits of redacted data: characters of a text, items of a list or an object, and levels of nesting."""

    characters: int
    items: int
    depth: int


LOG_LIMITS = Limits(200, 20, 10)
"""Limits for log lines and terminals."""

PAGE_LIMITS = Limits(20_000, 2000, 100)
"""Limits for a page that shows one body."""

_SECRET = re.compile("passw|pwd|passphrase|secret|token|authorization|apikey|accesskey|privatekey|credential|cookie")
_SECRET_PARAMETER = re.compile("^(key|sig|signature|code|auth|sid|session|sessionid|jwt)$|signature$")
# Secrets within a text: passwords in URLs, credentials of a scheme, JSON web tokens, header lines.
_IN_TEXT = (
    (re.compile(r"(?<=://)[^/\s@]+(?=@)"), "***"),
    (re.compile(r"(?i)\b(bearer|basic) +[a-z0-9._~+/-]{8,}=*"), r"\1 ***"),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*"), "***"),
    (
        re.compile(r"(?im)^([ \t]*(?:set-cookie|cookie|authorization|proxy-authorization|x-api-key):)[^\r\n]*"),
        r"\1 ***",
    ),
)
_PARAMETER = re.compile(r"(?<=[?&;])([\w.%~\[\]-]{1,64})(=)[^&;\s#\"'<>]+")
_VARIABLE = re.compile(r"\b([\w.-]{1,64})(=)[^&;\s\"'<>]+")
_JSON_PAIR = re.compile(r'(?<=")([^"\\]{1,64})("\s*:\s*)"(?:[^"\\]|\\.)*"?')
_NAMES, _VALUE = ("name", "key"), "value"
"""Keys of an object that represents a pair, such as ``{"name": "API_TOKEN", "value": "..."}``."""


def redact(data: object, limits: Limits = LOG_LIMITS) -> Any:
    """Return a copy of JSON-like data without secrets, with long texts, lists and objects cut.

    A value is secret by the name of its key, in any case and with any separators: ``apiKey``, ``API_KEY``,
    ``x-api-key``; also in pairs of name and value, and in the query of a URL. In other texts, passwords and tokens are
    hidden where recognised.

    Args:
        data: objects, lists, texts, numbers, True, False and None.
        limits: beyond which data is cut.
    """
    if data is None or isinstance(data, int | float):
        return data
    if isinstance(data, Mapping | list | tuple) and limits.depth == 0:
        return "..."
    deeper = limits._replace(depth=limits.depth - 1)
    if isinstance(data, Mapping):
        names_a_secret = any(_is_secret(str(data[name])) for name in _NAMES if name in data)
        shown = {
            _cut(str(key), limits.characters): "***"
            if _is_secret(str(key)) or (key == _VALUE and names_a_secret)
            else redact(value, deeper)
            for key, value in itertools.islice(data.items(), limits.items)
        }
        return shown if len(data) <= limits.items else shown | {"...": f"{len(data) - limits.items} more"}
    if isinstance(data, list | tuple):
        more = [f"... {len(data) - limits.items} more"] if len(data) > limits.items else []
        return [redact(item, deeper) for item in data[: limits.items]] + more
    return _cut(str(data), limits.characters)


def redact_text(text: str) -> str:
    """Return a text without recognised secrets; its length is not limited."""
    for pattern, instead in _IN_TEXT:
        text = pattern.sub(instead, text)
    if "=" in text:
        text = _VARIABLE.sub(_hide, _PARAMETER.sub(_hide_parameter, text))
    return _JSON_PAIR.sub(_hide, text) if '":' in text else text


def _hide_parameter(found: re.Match[str]) -> str:
    is_secret = _is_secret(found[1]) or _SECRET_PARAMETER.search(found[1].lower())
    return f"{found[1]}{found[2]}***" if is_secret else found[0]


def _hide(found: re.Match[str]) -> str:
    return f"{found[1]}{found[2]}***" if _is_secret(found[1]) else found[0]


def _is_secret(key: str) -> bool:
    return bool(_SECRET.search(re.sub("[^a-z0-9]", "", key.lower())))


def _cut(text: str, characters: int) -> str:
    """Hide the secrets in a text, then shorten it: a secret cut in two might not be recognised."""
    shown = redact_text(text[: 10 * LOG_LIMITS.characters + characters])
    return shown if len(text) <= characters else f"{shown[:characters]}... {len(text) - characters} more"
