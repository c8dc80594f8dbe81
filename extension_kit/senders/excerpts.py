"""What receivers say and why they could not be reached, as texts that may be stored and shown."""

import re
import ssl
import time
from collections.abc import Iterable, Mapping
from email.utils import parsedate_to_datetime
from urllib.parse import unquote, urlsplit

_EXCERPT_CHARACTERS = 1024
_LONG_WORDS = re.compile(r"[^\s/?&=:;,\"']{8,}")


def excerpt(said: bytes | str, secrets: Iterable[str]) -> str | None:
    """The beginning of what a receiver said, on one line; None where it is no text.

    Args:
        said: in UTF-8 where it is bytes.
        secrets: what must not be seen if it was repeated.
    """
    text = said.decode(errors="replace") if isinstance(said, bytes) else said
    if "\x00" in text:
        return None
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, "***")
    printable = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(printable.split())[:_EXCERPT_CHARACTERS] or None


def secret_words(url: str, headers: Mapping[str, str] | None = None) -> set[str]:
    """What may be secret in a URL and in headers: tokens stand in paths, in queries and behind ``Bearer``."""
    parts = urlsplit(url)
    values = [parts.path, parts.query, unquote(parts.path), unquote(parts.query), *(headers or {}).values()]
    return {word for value in values for word in [value, *_LONG_WORDS.findall(value)] if len(word) > 3}


def reason(error: BaseException) -> str:
    """Why something failed, in few words."""
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
    """The seconds that a header of this name asks for (RFC 9110, section 10.2.3); None where there is none to wait.

    Args:
        value: a number or a date; empty where there is no such header.
        longest: seconds that are heeded at most.
    """
    try:
        seconds = float(value) if value.isdecimal() else parsedate_to_datetime(value).timestamp() - time.time()
    except (ValueError, OverflowError):
        return None
    return min(seconds, longest) if seconds > 0 else None
