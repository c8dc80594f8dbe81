"""Cells: values of tables and facts as templates show them, without secrets, and as the API writes them."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from extension_kit.event_log.texts import redacted
from extension_kit.event_log.time_bars import Period, draw, summary
from extension_kit.runtime.log_pages import Link, LogTable, Status, TimeBars

LONGEST = 500
"""Characters of a text that are shown."""


class ShownCell(NamedTuple):
    """A cell for the macro ``cell`` of the templates.

    Attributes:
        kind: ``text``, ``number``, ``moment``, ``status``, ``link`` or ``bars``.
        text: its text; of bars their summary; empty: there is nothing to be shown.
        detail: the time of a moment, the path of a link, the drawn bars; else None.
    """

    kind: str
    text: str
    detail: Any = None


def show_cell(value: object, period: Period | None = None) -> ShownCell:
    """Return a value to be shown: one of the types of cells, or another one as its text.

    Args:
        value: the value.
        period: time over which bars are drawn; None: they are not.
    """
    match value:
        case None:
            return ShownCell("text", "")
        case Status():
            return ShownCell("status", value.word)
        case Link():
            return ShownCell("link", _text(value.text), value.path)
        case TimeBars():
            return ShownCell("bars", summary(value.bars), draw(value.bars, period) if period else [])
        case datetime() if value.utcoffset() is not None:
            return ShownCell("moment", value.isoformat(), value)
        case float():
            return ShownCell("number", f"{value:.15g}")
        case int() if not isinstance(value, bool):
            return ShownCell("number", str(value))
        case timedelta():
            return ShownCell("text", str(value))
    return ShownCell("text", _text(str(value)))


def show_rows(table: LogTable) -> list[list[ShownCell]]:
    """Return the rows of a table to be shown."""
    period = period_of(table)
    return [[show_cell(cell, period) for cell in row] for row in table.rows]


def table_to_json(table: LogTable) -> dict[str, Any]:
    """Return the JSON of a table, with the same texts as its page, in which bars are objects."""
    return {
        "columns": list(table.columns),
        "rows": [[_cell_to_json(cell) for cell in row] for row in table.rows],
        "next": table.next,
        "period": None if table.period is None else [time.isoformat() for time in table.period],
        "note": _text(table.note),
    }


def period_of(table: LogTable) -> Period | None:
    """Return the time over which the bars of a table are drawn; None: it has no bars."""
    if table.period is not None:
        return table.period
    bars = [bar for row in table.rows for cell in row if isinstance(cell, TimeBars) for bar in cell.bars]
    if not bars:
        return None
    return min(bar.begin for bar in bars), max(bar.end or bar.begin for bar in bars)


def _cell_to_json(cell: object) -> Any:
    match cell:
        case Status():
            return cell.word
        case Link():
            return {"text": _text(cell.text), "path": cell.path}
        case TimeBars():
            return _bars_to_json(cell)
        case str():
            return _text(cell)
        case datetime():
            return cell.isoformat()
    return cell


def _bars_to_json(cell: TimeBars) -> Sequence[Any]:
    return [
        {
            "begin": bar.begin.isoformat(),
            "end": bar.end and bar.end.isoformat(),
            "state": bar.state,
            "label": _text(bar.label),
        }
        for bar in cell.bars
    ]


def _text(text: str) -> str:
    """Return a text without recognised secrets, cut after they are hidden, so that none is shown in part."""
    shown = redacted(text)
    return shown if len(shown) <= LONGEST else f"{shown[: LONGEST - 1]}…"
