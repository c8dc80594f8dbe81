"""Bars on a line: within its period, and wide enough to be seen."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from extension_kit.event_log.time_bars import draw, summary
from extension_kit.event_log.timeline import WIDTH
from extension_kit.protocol import TimeBar

TEN = datetime(2026, 11, 21, 10, tzinfo=UTC)
ELEVEN = TEN + timedelta(hours=1)
MINUTES = st.integers(-10_000, 10_000).map(lambda minutes: TEN + timedelta(minutes=minutes))


def bar(begin, end, state="failed", label=""):
    return TimeBar(TEN + timedelta(minutes=begin), None if end is None else TEN + timedelta(minutes=end), state, label)


def shown(*bars):
    return [(each.x, each.width) for each in draw(bars, (TEN, ELEVEN))]


def test_a_bar_stands_at_its_time():
    assert shown(bar(15, 30), bar(30, 60)) == [(250.0, 250.0), (500.0, 500.0)]


def test_bars_are_cut_at_the_ends_of_the_period():
    assert shown(bar(-30, 15), bar(45, 90), bar(-30, 90)) == [(0.0, 250.0), (750.0, 250.0), (0.0, 1000.0)]


def test_a_bar_without_an_end_goes_on():
    assert shown(bar(45, None)) == [(750.0, 250.0)]


def test_bars_outside_of_the_period_are_left_out():
    assert shown(bar(-30, -1), bar(61, 90), bar(61, None)) == []


def test_a_moment_can_be_seen():
    assert shown(bar(30, 30), bar(60, 60)) == [(500.0, 4.0), (996.0, 4.0)]


@given(MINUTES, MINUTES | st.none(), MINUTES, st.integers(1, 10_000))
def test_no_bar_leaves_the_line(begin, end, first, minutes):
    for drawn in draw([TimeBar(begin, end, "failed")], (first, first + timedelta(minutes=minutes))):
        assert 0 <= drawn.x < drawn.x + drawn.width <= WIDTH + 0.1


def test_a_title_tells_the_times_the_state_and_the_label():
    titles = [each.title for each in draw([bar(0, 1, label="disk"), bar(1, 1), bar(2, None)], (TEN, ELEVEN))]
    assert titles == [
        "2026-11-21 10:00:00 to 2026-11-21 10:01:00, failed: disk",
        "2026-11-21 10:01:00, failed",
        "2026-11-21 10:02:00 to now, failed",
    ]


def test_the_summary_counts_states():
    assert summary([bar(0, 1), bar(1, 2, "succeeded"), bar(2, 3, "succeeded")]) == "2 succeeded, 1 failed"
    assert summary([]) == ""
