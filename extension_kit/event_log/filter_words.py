"""Filter words: the conditions of a filter of deliveries as phrases, for people who are asked to confirm an action."""

from collections.abc import Iterator
from datetime import UTC, datetime

from extension_kit.deliveries.queries import Filter
from extension_kit.observability.printable import printable

_REFS = 10


def phrases(wanted: Filter) -> Iterator[str]:
    """Yield a phrase for each condition but the status, such as ``the error contains “timed out”``."""
    if wanted.refs:
        named = ", ".join(map(str, wanted.refs[:_REFS]))
        more = len(wanted.refs) - _REFS
        yield f"the number is one of {named}{f' and {more:,} more' if more > 0 else ''}"
    for condition, value in (
        ("the key of the listener begins with", wanted.listener),
        ("the name of the event is", wanted.event_name),
        ("the name of the event matches", wanted.event_pattern),
        ("the id of the event is", wanted.event_id),
        ("the subject of the event is", wanted.subject),
        ("the source of the event is", wanted.source),
        ("the error contains", wanted.error),
    ):
        if value is not None:
            yield f"{condition} \N{LEFT DOUBLE QUOTATION MARK}{printable(value)}\N{RIGHT DOUBLE QUOTATION MARK}"
    if wanted.after is not None:
        yield f"created after {_written(wanted.after)}"
    if wanted.before is not None:
        yield f"created before {_written(wanted.before)}"


def _written(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
