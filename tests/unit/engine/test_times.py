from datetime import UTC, datetime, timedelta, timezone

import pytest

from extension_kit.engine.times import from_microseconds, now, to_microseconds


@pytest.mark.parametrize(
    ("moment", "number"),
    [
        (datetime(1970, 1, 1, tzinfo=UTC), 0),
        (datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), -1),
        (datetime(2026, 11, 21, 9, 30, 15, 123_457, tzinfo=UTC), 1_795_253_415_123_457),
        (datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), 253_402_300_799_999_999),
    ],
)
def test_times_keep_every_microsecond(moment, number):
    assert to_microseconds(moment) == number
    assert from_microseconds(number) == moment
    assert from_microseconds(number).utcoffset() == timedelta(0)


def test_the_time_zone_does_not_matter():
    moment = datetime(2026, 11, 21, 12, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    assert from_microseconds(to_microseconds(moment)) == moment


def test_a_time_without_a_time_zone_is_refused():
    with pytest.raises(TypeError):
        to_microseconds(datetime(2026, 11, 21))


def test_now_is_between_before_and_after():
    before = datetime.now(UTC)
    assert to_microseconds(before) - 1 <= now() <= to_microseconds(datetime.now(UTC) + timedelta(seconds=60))
