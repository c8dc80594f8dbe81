"""Times: as Tapis writes them, and as publishers send them."""

from datetime import UTC, datetime


def iso(time: datetime) -> str:
    """Write an aware time as Tapis does: in UTC, to the microsecond, with Z."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def read_timestamp(text: str) -> datetime | None:
    """Read a publisher's timestamp; None if the text is not a time of ISO 8601.

    A time without an offset is in UTC.
    """
    try:
        time = datetime.fromisoformat(text.strip())
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
