"""Time bars: the geometry of bars of several states on one line, drawn as SVG by a template."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from extension_kit.event_log.texts import STATES, moment, one_line, redacted
from extension_kit.event_log.timeline import placed
from extension_kit.runtime.log_pages import TimeBar

_LABEL = 200  # characters

Period = tuple[datetime, datetime]


class DrawnBar(NamedTuple):
    """A bar.

    Attributes:
        x: its begin, in units of ``timeline.WIDTH`` for the whole line.
        width: in the same units.
        state: its state.
        title: its times, its state and its label without secrets, for people.
    """

    x: float
    width: float
    state: str
    title: str


def draw(bars: Sequence[TimeBar], period: Period) -> list[DrawnBar]:
    """Return the bars of a line; those outside of its period are left out, others are cut there.

    Args:
        bars: in any order; those behind are drawn over those before.
        period: begin and end of the line.
    """
    first, last = period
    return [
        DrawnBar(*placed(bar.begin, bar.end or last, first, last), bar.state, _title(bar))
        for bar in bars
        if bar.begin <= last and (bar.end or last) >= first
    ]


def summary(bars: Sequence[TimeBar]) -> str:
    """Return the numbers of bars by state, such as ``7 succeeded, 1 failed``; empty without bars."""
    return ", ".join(f"{number} {state}" for state, number in Counter(bar.state for bar in bars).most_common())


def _title(bar: TimeBar) -> str:
    times = moment(bar.begin) if bar.end == bar.begin else f"{moment(bar.begin)} to {_end(bar.end)}"
    state = bar.state if bar.state in STATES else one_line(bar.state)  # of a page's many bars, few are unknown
    return f"{times}, {state}: {one_line(redacted(bar.label), _LABEL)}" if bar.label else f"{times}, {state}"


def _end(end: datetime | None) -> str:
    return "now" if end is None else moment(end)
