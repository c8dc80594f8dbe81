"""Delivery tables on the command line: a line or two per delivery, details of one, and relative times."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import click
import orjson
from rich.console import Console

from extension_kit.deliveries.tables import WAITING
from extension_kit.observability.printable import printable
from extension_kit.observability.redaction import redact

_COLUMNS = ("delivery", "status", "attempts", "event", "subject", "listener")
_EVENT = _COLUMNS.index("event")
_SHRINKABLE = (_EVENT, _COLUMNS.index("subject"), _COLUMNS.index("listener"))
_LEAST = 8  # minimum characters of these columns, however narrow the terminal
_GAP = "  "
_ERROR_CHARACTERS = 200
_BODY_LINES = 200
_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def write_list(records: Sequence[Mapping[str, Any]]) -> None:
    """Print deliveries as a table. On a terminal, fit its width and print errors below; else one line per delivery."""
    console = Console()
    now = datetime.now(UTC)
    rows = [{**each, "status": status(each, now)} for each in records]
    cells = [[_text(row[name]) for name in _COLUMNS] for row in rows]
    widths = [max(map(len, column)) for column in zip(_COLUMNS, *cells, strict=True)]
    if console.is_terminal:
        _shrink(widths, console.width)
    click.echo(_line(_COLUMNS, widths) if console.is_terminal else _GAP.join([_line(_COLUMNS, widths), "error"]))
    for row, texts in zip(rows, cells, strict=True):
        error = _text(row["error"])[:_ERROR_CHARACTERS]
        if console.is_terminal:
            click.echo(_line(texts, widths))
            if error:
                click.echo(_cut(f"{' ' * widths[0]}{_GAP}{error}", console.width))
        else:
            click.echo(_GAP.join([_line(texts, widths), error]).rstrip())


def status(shown: Mapping[str, Any], now: datetime) -> str:
    """Return the status of a delivery in a few words, with a relative time."""
    if shown["status"] != WAITING:
        return f"{shown['status']} {_duration(now, shown['ended_at'])} ago" if shown["ended_at"] else shown["status"]
    if shown["attempted_since"]:
        return f"attempted for {_duration(now, shown['attempted_since'])}"
    if shown["behind"]:
        return f"behind delivery {shown['behind']}"
    if shown["due_at"] <= now:
        return "due now"
    return f"due in {_duration(shown['due_at'], now)}"


def write_json(value: object) -> None:
    """Print indented JSON."""
    click.echo(json.dumps(value, indent=2, default=datetime.isoformat))


def write_fields(fields: Mapping[str, object]) -> None:
    """Print a line for each field that has a value."""
    for name, value in fields.items():
        if value is not None:
            click.echo(f"{name + ':':<17}{_text(value)}")


def shown_body(body: bytes) -> Any:
    """Return an event's body for display: secrets hidden, long texts and lists cut."""
    try:
        return redact(orjson.loads(body))
    except orjson.JSONDecodeError:
        return f"{len(body)} bytes that are not JSON"


def write_body(body: object) -> None:
    """Print an event's body, a line for each of its values."""
    lines = json.dumps(body, indent=2, ensure_ascii=False).splitlines()
    for line in lines[:_BODY_LINES]:
        click.echo("".join(character if character.isprintable() else " " for character in line))
    if len(lines) > _BODY_LINES:
        click.echo(f"... {len(lines) - _BODY_LINES} lines more; --json shows all")


def _shrink(widths: list[int], width: int) -> None:
    """Make the widest columns narrower until they fit."""
    while sum(widths) + len(_GAP) * (len(widths) - 1) > width:
        widest = max(_SHRINKABLE, key=lambda place: widths[place])
        if widths[widest] <= _LEAST:
            return
        widths[widest] -= 1


def _line(texts: Sequence[str], widths: Sequence[int]) -> str:
    shown = [_cut(text, width) for text, width in zip(texts, widths, strict=True)]
    if len(name := texts[_EVENT]) > widths[_EVENT]:  # event names differ at their end
        shown[_EVENT] = f"…{name[-widths[_EVENT] + 1 :]}"
    return _GAP.join(text.ljust(width) for text, width in zip(shown, widths, strict=True)).rstrip()


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _duration(later: datetime, earlier: datetime) -> str:
    """Format the time between two moments in the largest unit that fits: ``3 h``."""
    seconds = max((later - earlier).total_seconds(), 0.0)
    size, unit = next((each for each in _UNITS if seconds >= each[0]), _UNITS[-1])
    return f"{seconds // size:.0f} {unit}"


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone().isoformat(sep=" ", timespec="milliseconds")
    return "" if value is None else printable(str(value))
