"""Jobs that are due by a clock that nobody sets."""

from datetime import UTC, datetime, timedelta

import pytest

from extension_kit.engine.delays import Delays


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def in_(seconds):
    return datetime.now(UTC) + timedelta(seconds=seconds)


def test_what_the_systems_clock_keeps_waiting_is_found_when_its_time_has_come(clock):
    delays = Delays(clock)
    delays.add(1, in_(60))
    delays.add(2, in_(3600))
    assert delays.wait == pytest.approx(60, abs=1)
    assert delays.overdue() == []
    clock.now += 61  # and the system's clock has not moved
    assert delays.overdue() == [1]
    assert delays.overdue() == []
    clock.now += 3600
    assert delays.overdue() == [2]
    assert delays.wait is None


def test_what_is_due_by_both_clocks_is_forgotten(clock):
    delays = Delays(clock)
    delays.add(1, in_(0.1))
    delays.add(2, in_(-5))
    clock.now += 1
    assert delays.overdue() == []
    assert delays.wait is None


def test_a_bounded_number_is_remembered(clock, monkeypatch):
    monkeypatch.setattr("extension_kit.engine.delays._REMEMBERED", 3)
    delays = Delays(clock)
    for number in range(5):
        delays.add(number, in_(60))
    clock.now += 61
    assert sorted(delays.overdue()) == [0, 1, 2]
