"""Times as texts, and what publishers write as one."""

from datetime import UTC, datetime


def iso(time: datetime) -> str:
    """Write an aware time as Tapis does: in UTC, to the microsecond, with Z."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def read_timestamp(text: str) -> datetime | None:
    """Read a publisher's timestamp, which may be any text; None where it is no time of ISO 8601.

    Without an offset it is taken to be in UTC.
    """
    try:
        time = datetime.fromisoformat(text.strip())
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
