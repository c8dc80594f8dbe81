"""The chart of attempts."""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from extension_kit.event_log.bars import HEIGHT, WIDTH, draw

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


class Rate(NamedTuple):
    begin: datetime
    delivered: int
    failed: int
    is_complete: bool = True


def rates(*pairs):
    return [Rate(NOON + timedelta(minutes=number), *pair) for number, pair in enumerate(pairs)]


def test_failed_attempts_stand_on_delivered_ones():
    chart = draw(rates((3, 1), (0, 2), (0, 0)), "a minute")

    first, second, third = chart.bars
    assert first.delivered_height == 0.75 * HEIGHT
    assert first.failed_height == 0.25 * HEIGHT
    assert first.failed_y == 0
    assert first.failed_y + first.failed_height == first.delivered_y
    assert (second.delivered_height, second.failed_height) == (0, HEIGHT / 2)
    assert (third.delivered_height, third.failed_height) == (0, 0)
    assert 0 < first.x < first.x + first.width < second.x < third.x + third.width < WIDTH
    assert (chart.delivered, chart.failed, chart.highest) == (3, 3, 4)
    assert first.title == "2026-11-21 12:00: 3 delivered, 1 failed"


def test_nothing_is_drawn_without_attempts():
    chart = draw(rates((0, 0)), "a minute")

    assert [bar.delivered_height for bar in chart.bars] == [0]
    assert draw([], "a minute").bars == []


def test_it_says_since_when_it_is_complete():
    first, *others = rates((1, 0), (1, 0), (1, 0))

    assert draw([first, *others], "a minute").complete_since is None
    assert draw([first._replace(is_complete=False), *others], "a minute").complete_since == NOON + timedelta(minutes=1)
