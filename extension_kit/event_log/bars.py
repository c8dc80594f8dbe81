"""Bars: the geometry of a chart of attempts over time, drawn as SVG by a template."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

WIDTH, HEIGHT = 600.0, 100.0
_GAP = 0.15  # of a bar's place


class Rate(Protocol):
    """The attempts of an interval."""

    @property
    def begin(self) -> datetime:
        """Begin of the interval."""

    @property
    def delivered(self) -> int:
        """Number of attempts that delivered."""

    @property
    def failed(self) -> int:
        """Number of other attempts."""

    @property
    def is_complete(self) -> bool:
        """False: there may have been more."""


class Bar(NamedTuple):
    """One bar, in units of the chart; failed attempts stand on delivered ones."""

    x: float
    width: float
    delivered_y: float
    delivered_height: float
    failed_y: float
    failed_height: float
    title: str


class Bars(NamedTuple):
    """A chart.

    Attributes:
        width: in units of its own.
        height: the same.
        bars: from left to right.
        delivered: number of all attempts that delivered.
        failed: number of all other attempts.
        highest: number of attempts in the highest bar.
        step: the length of an interval in words.
        complete_since: time from which on all attempts are counted; None: all are.
    """

    width: float
    height: float
    bars: Sequence[Bar]
    delivered: int
    failed: int
    highest: int
    step: str
    complete_since: datetime | None


def draw(rates: Sequence[Rate], step: str) -> Bars:
    """Return the chart of some rates.

    Args:
        rates: oldest first.
        step: the length of an interval in words, such as ``a minute``.
    """
    complete = [rate.begin for rate in rates if rate.is_complete]
    complete_since = None if len(complete) == len(rates) else min(complete, default=None)
    highest = max((rate.delivered + rate.failed for rate in rates), default=0)
    place = WIDTH / max(len(rates), 1)
    unit = HEIGHT / max(highest, 1)
    bars = []
    for number, rate in enumerate(rates):
        delivered, failed = rate.delivered * unit, rate.failed * unit
        bars.append(
            Bar(
                x=round((number + _GAP / 2) * place, 2),
                width=round((1 - _GAP) * place, 2),
                delivered_y=round(HEIGHT - delivered, 2),
                delivered_height=round(delivered, 2),
                failed_y=round(HEIGHT - delivered - failed, 2),
                failed_height=round(failed, 2),
                title=f"{rate.begin:%Y-%m-%d %H:%M}: {rate.delivered} delivered, {rate.failed} failed",
            )
        )
    sums = sum(rate.delivered for rate in rates), sum(rate.failed for rate in rates)
    return Bars(WIDTH, HEIGHT, bars, *sums, highest, step, complete_since)
