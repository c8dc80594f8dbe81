"""Excerpts of answers and reasons of failures, without secrets and control characters, for storage and display."""

import re
import ssl
import time
from collections.abc import Iterable, Mapping
from email.utils import parsedate_to_datetime
from urllib.parse import unquote, urlsplit

_EXCERPT_CHARACTERS = 1024
_LONG_WORDS = re.compile(r"[^\s/?&=:;,\"']{8,}")


def excerpt(said: bytes | str, secrets: Iterable[str]) -> str | None:
    """Return the beginning of a receiver's answer on one line; None if it is empty or no text.

    Args:
        said: the answer; bytes are decoded as UTF-8.
        secrets: texts to replace by ``***``, because a receiver may repeat them.
    """
    text = said.decode(errors="replace") if isinstance(said, bytes) else said
    if "\x00" in text:
        return None
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, "***")
    printable = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(printable.split())[:_EXCERPT_CHARACTERS] or None


def secret_words(url: str, headers: Mapping[str, str] | None = None) -> set[str]:
    """Return the possible secrets of a URL and of headers: tokens in paths, in queries and behind ``Bearer``."""
    parts = urlsplit(url)
    values = [parts.path, parts.query, unquote(parts.path), unquote(parts.query), *(headers or {}).values()]
    return {word for value in values for word in [value, *_LONG_WORDS.findall(value)] if len(word) > 3}


def reason(error: BaseException) -> str:
    """Return the reason of an error in a few words."""
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"TLS: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {(getattr(error, 'reason', None) or 'failed').replace('_', ' ').lower()}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def retry_after(value: str, longest: float) -> float | None:
    """Return the seconds that a Retry-After header asks for (RFC 9110, section 10.2.3); None if there are none.

    Args:
        value: a number or a date; empty without such a header.
        longest: maximum seconds to return.
    """
    try:
        seconds = float(value) if value.isdecimal() else parsedate_to_datetime(value).timestamp() - time.time()
    except (ValueError, OverflowError):
        return None
    return min(seconds, longest) if seconds > 0 else None
