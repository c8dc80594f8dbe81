from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extension_kit.events.times import parse_time


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2021-09-01T12:00:00Z", datetime(2021, 9, 1, 12, tzinfo=UTC)),
        ("2022-11-08T16:42:32.303762Z", datetime(2022, 11, 8, 16, 42, 32, 303762, tzinfo=UTC)),
        ("2024-01-01T00:00:00.586222005Z", datetime(2024, 1, 1, 0, 0, 0, 586222, tzinfo=UTC)),
        ("2024-01-01T00:00:00.5Z", datetime(2024, 1, 1, 0, 0, 0, 500000, tzinfo=UTC)),
        ("2024-01-01T02:00:00+02:00", datetime(2024, 1, 1, 2, tzinfo=timezone(timedelta(hours=2)))),
        ("2024-01-01T02:00:00+0200", datetime(2024, 1, 1, 2, tzinfo=timezone(timedelta(hours=2)))),
        ("2024-01-01T00:00:00", datetime(2024, 1, 1, tzinfo=UTC)),
        ("2024-01-01t00:00:00z", datetime(2024, 1, 1, tzinfo=UTC)),
        ("2016-12-31T23:59:60Z", datetime(2017, 1, 1, tzinfo=UTC)),
        ("2016-12-31t23:59:60.5z", datetime(2017, 1, 1, tzinfo=UTC)),
    ],
)
def test_date_times_are_read_as_aware(text, expected):
    assert parse_time(text) == expected
    assert parse_time(text).tzinfo is not None


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "yesterday",
        5,
        5.5,
        True,
        [],
        {},
        "0001-01-01T00:00:00Z",
        "2024-13-01T00:00:00Z",
        "9999-12-31T23:59:60Z",
    ],
)
def test_what_is_not_a_time_is_none(value):
    assert parse_time(value) is None


@given(st.one_of(st.text(), st.none(), st.integers(), st.floats(), st.binary()))
def test_nothing_raises(value):
    assert parse_time(value) is None or parse_time(value).tzinfo is not None


@given(st.datetimes(min_value=datetime(2, 1, 2), timezones=st.timezones()))
def test_what_python_writes_is_read_back(time):
    parsed = parse_time(time.isoformat())
    assert parsed is not None
    assert parsed.replace(tzinfo=None) == time.replace(tzinfo=None, fold=0)
