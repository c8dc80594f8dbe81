import time

import pytest

from extension_kit.events.request_headers import deadline_after, parse_timeout, request_id


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("5", 5),
        ("0.5", 0.5),
        (" 5 ", 5),
        ("1e3", 1000),
        ("100000", 86400),
        ("inf", 86400),
        ("nan", None),
        ("0", None),
        ("-1", None),
        ("", None),
        ("5s", None),
    ],
)
def test_a_timeout_is_a_positive_number_of_seconds_up_to_a_day(value, seconds):
    assert parse_timeout(value) == seconds


@pytest.mark.parametrize("value", ["a", "d0a1b2-~!", "x" * 128])
def test_a_sound_request_id_is_kept(value):
    assert request_id(value) == value


@pytest.mark.parametrize("value", ["", " ", "a b", "a\n", "ä", "\x00", "x" * 129])
def test_a_new_one_stands_for_others(value):
    first, second = request_id(value), request_id(value)
    assert first != second
    assert request_id(first) == first


def test_a_deadline_is_by_the_monotonic_clock():
    assert time.monotonic() < deadline_after(60) <= time.monotonic() + 60
