"""Times as SQLite's tables of the queue hold them."""

import time
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_microseconds(moment: datetime) -> int:
    """Turn an aware time into microseconds since 1970."""
    return (moment - _EPOCH) // _MICROSECOND


def from_microseconds(number: int) -> datetime:
    """Turn microseconds since 1970 into a time in UTC."""
    return _EPOCH + number * _MICROSECOND


def now() -> int:
    """Microseconds since 1970."""
    return time.time_ns() // 1000
