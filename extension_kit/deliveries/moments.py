"""Moments: points in time as people write them, a time or an age, on the command line and in addresses of pages."""

import re
from datetime import UTC, datetime, timedelta

_AGE = re.compile(r"(\d{1,12})([smhdw])", re.ASCII)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_SPACE_BEFORE_OFFSET = re.compile(r" (?=\d\d:?\d\d$)")  # a plus sign of an address that nobody has encoded


def parse_moment(text: str) -> datetime:
    """Read a time of ISO 8601, by default in the local zone, or an age such as ``30m``, ``12h`` or ``7d``.

    Returns:
        An aware time in UTC.

    Raises:
        ValueError: the text is neither of these; the message is for people.
    """
    try:
        if age := _AGE.fullmatch(text):
            return datetime.now(UTC) - timedelta(seconds=int(age[1]) * _SECONDS[age[2]])
        return _parse_time(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r:.80} is neither a time (2026-11-21T10:30) nor an age (30m, 12h, 7d)") from None


def _parse_time(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return datetime.fromisoformat(_SPACE_BEFORE_OFFSET.sub("+", text))
