"""Texts of pages: filters of templates for texts from outside, times and durations."""

from datetime import UTC, datetime
from typing import Any

from flask import Flask

from extension_kit.observability.printable import printable
from extension_kit.observability.redaction import beginning

STATES = {
    "aborted",
    "active",
    "canceled",
    "completed",
    "dead",
    "delivered",
    "disabled",
    "discarded",
    "enabled",
    "error",
    "errored",
    "expired",
    "failed",
    "inactive",
    "lost",
    "missed",
    "overdue",
    "paused",
    "processed",
    "refused",
    "removed",
    "retried",
    "running",
    "shutdown",
    "skipped",
    "succeeded",
    "waiting",
}
"""Words of states that have a colour."""

_MOST_REDACTED = 100_000  # characters of an error or an answer; the rest is left out


def add_filters(app: Flask) -> None:
    """Add the filters to an application's templates."""
    app.jinja_env.filters |= {
        "line": one_line,
        "text": several_lines,
        "moment": moment,
        "redacted": redacted,
        "seconds": seconds_of_last_attempt,
        "duration": seconds_of_attempt,
        "state": known_state,
        "counted": counted,
    }


def one_line(text: object, length: int = 80) -> str:
    """Return a text as one line of at most ``length`` characters, without control characters."""
    shown = printable(str(text)[: 4 * length])
    return shown if len(shown) <= length else f"{shown[: length - 1]}…"


def several_lines(text: str) -> str:
    """Return a text with its line breaks; other control characters, and those that turn the direction, as escapes."""
    return "".join(
        each if each.isprintable() or each in "\n\t" else each.encode("unicode_escape").decode() for each in text
    )


def moment(time: datetime) -> str:
    """Return a time in UTC to the second, such as ``2026-11-21 10:30:00``; one that UTC cannot have with its offset."""
    try:
        return time.astimezone(UTC).isoformat(" ", "seconds")[:19]
    except OverflowError:
        return time.isoformat(" ", "seconds")


def redacted(text: str) -> str:
    """Return a text without recognised secrets, cut where it is very long."""
    return beginning(text, _MOST_REDACTED)


def known_state(word: str) -> str:
    """Return the class of a state's colour; empty for an unknown word."""
    return word if word in STATES else ""


def seconds_of_last_attempt(row: Any) -> str:
    """Return the seconds of the last attempt of a delivery, from a row of ``find_deliveries``; ``-`` without one."""
    return _seconds(row.last_started_at, row.last_ended_at)


def seconds_of_attempt(row: Any) -> str:
    """Return the seconds of an attempt, from its row; ``-`` while it runs."""
    return _seconds(row.started_at, row.ended_at)


def counted(count: Any) -> str:
    """Return the number of a ``Count`` or of a row like it, such as ``1,234``, or ``10,000+`` if there may be more."""
    return f"{count.number:,}" if count.is_exact else f"{count.number:,}+"


def _seconds(begin: datetime | None, end: datetime | None) -> str:
    return "-" if begin is None or end is None else f"{(end - begin).total_seconds():.3f}"
