"""Parsing of date-times in event bodies."""

import re
from datetime import UTC, datetime, timedelta

_LEAP_SECOND = re.compile(r"(\d\d:\d\d):60(?!\d)")


def parse_time(text: object) -> datetime | None:
    """Read a date-time of RFC 3339 with any number of fraction digits.

    Digits beyond microseconds are cut; a time without an offset is taken as UTC; a leap second becomes the second after
    it. Year 1, which Go senders write for "not set", is None, and so is every other value that is not a date-time.

    Args:
        text: the value in the body, usually a string.

    Returns:
        An aware datetime in the sender's offset, or None.
    """
    if not isinstance(text, str):
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return _parse_unusual(text)
    if time.tzinfo is None:
        time = time.replace(tzinfo=UTC)
    return time if time.year > 1 else None


def _parse_unusual(text: str) -> datetime | None:
    """Read a date-time with second 60 or lower-case t and z, which RFC 3339 allows and ``fromisoformat`` refuses."""
    usual = _LEAP_SECOND.sub(r"\1:59", text.upper())
    if usual == text:
        return None
    time = parse_time(usual)
    if time is None or ":60" not in text:
        return time
    try:
        return time.replace(microsecond=0) + timedelta(seconds=1)
    except OverflowError:
        return None
