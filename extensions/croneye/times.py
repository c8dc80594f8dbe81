"""Times: parsed as services send them, and written as dashboards expect them."""

import re
from datetime import UTC, datetime
from typing import Any

NUMBER = "[0-9]{1,15}([.][0-9]{1,9})?"
"""Pattern of a text that is parsed as a number."""

LAST = 253_402_300_799_999
"""The last millisecond of the year 9999."""

_FIRST_MILLISECONDS = 1e11
"""Smaller numbers are seconds (until the year 5138), others milliseconds (from March 1973 on)."""


def parse_time(value: Any) -> datetime | None:
    """Read a time: seconds or milliseconds since 1970, also as a fraction or as text, or an ISO 8601 text.

    A text without an offset is in UTC. CronEye documents a "Timestamp in UTC" without its unit: its sample is in
    seconds, its dashboards take milliseconds.

    Returns:
        An aware datetime; None for null.

    Raises:
        ValueError: the value is not a time, or is before 1970 or after the year 9999.
    """
    if value is None:
        return None
    if isinstance(value, str):
        text = value.strip()
        if not re.fullmatch(NUMBER, text):
            return _of_text(text)
        value = float(text)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LAST:
        raise ValueError("a time is a number or a text, and not before 1970")
    return datetime.fromtimestamp(value if value < _FIRST_MILLISECONDS else value / 1000, UTC)


def _of_text(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    aware = time if time.tzinfo else time.replace(tzinfo=UTC)
    if not 0 <= aware.timestamp() <= LAST / 1000:
        raise ValueError("a time is not before 1970, nor after 9999")
    return aware.astimezone(UTC)


def milliseconds(time: datetime | None) -> int | None:
    """Return whole milliseconds since 1970, the format of CronEye's dashboards."""
    return None if time is None else round(time.timestamp() * 1000)
