import pytest

from extension_kit import RegistrationError
from extension_kit.deliveries.retry import DEFAULT_DELAYS, RetrySchedule


def test_waits_follow_the_schedule_with_a_tenth_of_jitter():
    schedule = RetrySchedule.of([10, 100])
    assert schedule.attempts == 3
    first = [schedule.wait_after(1) for _ in range(200)]
    assert 9 <= min(first) < max(first) <= 11
    assert 90 <= schedule.wait_after(2) <= 110
    assert schedule.wait_after(3) is None


def test_the_default_lasts_about_a_day():
    assert RetrySchedule.of(None).delays == DEFAULT_DELAYS
    assert 24 * 3600 < RetrySchedule().length < 30 * 3600


def test_no_waits_mean_one_attempt():
    assert RetrySchedule.of([]).wait_after(1) is None


@pytest.mark.parametrize(("asked", "expected"), [(0.0, 0.0), (7.5, 7.5), (-5, 0.0), (1e12, 30 * 86400.0)])
def test_a_wait_that_was_asked_for_exactly_replaces_the_schedules_but_adds_no_attempt(asked, expected):
    schedule = RetrySchedule.of([10])
    assert schedule.wait_after(1, exactly=asked) == expected
    assert schedule.wait_after(1, exactly=asked, at_least=1000) == expected
    assert schedule.wait_after(2, exactly=asked) is None


def test_who_asks_for_more_time_gets_it_and_who_asks_for_less_does_not_use_up_attempts():
    schedule = RetrySchedule.of([10])
    assert schedule.wait_after(1, at_least=60) == 60
    assert schedule.wait_after(1, at_least=1e12) == 30 * 86400.0
    assert 9 <= schedule.wait_after(1, at_least=1) <= 11
    assert schedule.wait_after(2, at_least=60) is None


@pytest.mark.parametrize(
    "delays", ["5", 5, [-1], [True], ["5"], [None], [float("nan")], [float("inf")], [31 * 86400], [1] * 1000, {1: 2}]
)
def test_what_is_no_schedule_is_refused(delays):
    with pytest.raises(RegistrationError, match="retry"):
        RetrySchedule.of(delays)
