"""Redaction: bodies and texts without secrets and shortened, for logs, displays and the event log."""

import itertools
import re
from collections.abc import Mapping
from typing import Any, NamedTuple


class Limits(NamedTuple):
    """Limits of redacted data.

    Attributes:
        characters: of a text.
        items: of a list or an object.
        depth: levels of nesting.
        total: characters of all keys and texts, with ten for each value: they bound the time that redaction takes.
    """

    characters: int
    items: int
    depth: int
    total: int


LOG_LIMITS = Limits(200, 20, 10, 100_000)
"""Limits for log lines and terminals."""

PAGE_LIMITS = Limits(20_000, 2000, 100, 500_000)
"""Limits for a page that shows one body."""

_SECRET = re.compile("passw|pwd|passphrase|secret|token|authorization|apikey|accesskey|privatekey|credential|cookie")
_SECRET_PARAMETER = re.compile("^(key|sig|signature|code|auth|sid|session|sessionid|jwt)$|signature$")
# Secrets within a text: passwords in URLs, credentials of a scheme, JSON web tokens, header lines.
_IN_TEXT = (
    (re.compile(r"(?<=://)[^/\s@]+(?=@)"), "***"),
    (re.compile(r"(?i)\b(bearer|basic) +[a-z0-9._~+/-]{8,}=*"), r"\1 ***"),
    (
        # From the beginning of a word that a dot ends: without that, each "eyJ" of a long word goes through its rest.
        re.compile(
            r"(?<![A-Za-z0-9_-])(?=[A-Za-z0-9_-]+\.)"
            r"([A-Za-z0-9_-]*?\b)eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*"
        ),
        r"\1***",
    ),
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
_OF_A_VALUE = 10  # characters
_MORE = 2000  # characters of a text behind its beginning


def redact(data: object, limits: Limits = LOG_LIMITS) -> Any:
    """Return a copy of JSON-like data without secrets, with long texts, lists and objects cut.

    A value is secret by the name of its key, in any case and with any separators: ``apiKey``, ``API_KEY``,
    ``x-api-key``; also in pairs of name and value, and in the query of a URL. In other texts, passwords and tokens are
    hidden where recognised.

    Args:
        data: objects, lists, texts, numbers, True, False and None.
        limits: beyond which data is cut.
    """
    return _Redaction(limits).of(data, limits.depth)


class _Redaction:
    """Redaction of one body.

    Args:
        limits: beyond which data is cut.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._left = limits.total

    def of(self, data: object, depth: int) -> Any:
        """Return the copy of a value that may have ``depth`` levels."""
        self._left -= _OF_A_VALUE
        if data is None or isinstance(data, int | float):
            return data
        if self._left < 0 or (depth == 0 and isinstance(data, Mapping | list | tuple)):
            return "..."
        most = self._limits.items
        if isinstance(data, Mapping):
            names = (data.get(name) for name in _NAMES)
            names_a_secret = any(isinstance(name, str) and _is_secret(name) for name in names)
            shown = {
                self._cut(str(key)): "***"
                if _is_secret(str(key)) or (key == _VALUE and names_a_secret)
                else self.of(value, depth - 1)
                for key, value in itertools.islice(data.items(), most)
            }
            return shown if len(data) <= most else shown | {"...": f"{len(data) - most} more"}
        if isinstance(data, list | tuple):
            more = [f"... {len(data) - most} more"] if len(data) > most else []
            return [self.of(item, depth - 1) for item in data[:most]] + more
        return self._cut(str(data))

    def _cut(self, text: str) -> str:
        """Hide the secrets in a text, then shorten it."""
        most = self._limits.characters
        self._left -= min(len(text), most)
        return redact_text(text) if len(text) <= most else f"{beginning(text, most)}... {len(text) - most} more"


def beginning(text: str, characters: int) -> str:
    """Return the beginning of a text without recognised secrets, of which one cut in two might not be recognised."""
    return redact_text(text[: characters + _MORE])[:characters]


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
