"""Times: microseconds since 1970, as SQLite's tables of the queue store them."""

import time
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_microseconds(moment: datetime) -> int:
    """Convert an aware time to microseconds since 1970."""
    return (moment - _EPOCH) // _MICROSECOND


def from_microseconds(number: int) -> datetime:
    """Convert microseconds since 1970 to a time in UTC."""
    return _EPOCH + number * _MICROSECOND


def now() -> int:
    """Return the current time in microseconds since 1970."""
    return time.time_ns() // 1000
