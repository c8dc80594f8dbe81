"""Filters are read from addresses and written into them, and what is not allowed is refused with a sentence."""

from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl

import pytest

from extension_kit.deliveries.queries import Filter
from extension_kit.event_log.filters import EventFilter, delivery_filter, event_filter, to_query
from extension_kit.event_log.paging import BadFilter, cursor, limit_of, number_of


def test_all_parameters_are_read():
    args = {
        "ref": "7,3,7",
        "status": "dead",
        "listener": " oncall.",
        "event": "a.b",
        "subject": "ADM-1/2",
        "source": "steadybit",
        "event_id": "x",
        "error": "100%",
        "from": "2026-03-01T12:00:00Z",
        "to": "2026-03-01T14:00:00+01:00",
        "limit": "5",
        "utm": "ignored",
    }
    assert delivery_filter(args) == Filter(
        refs=(3, 7),
        status="dead",
        listener="oncall.",
        event_name="a.b",
        subject="ADM-1/2",
        source="steadybit",
        event_id="x",
        error="100%",
        after=datetime(2026, 3, 1, 12, tzinfo=UTC),
        before=datetime(2026, 3, 1, 13, tzinfo=UTC),
    )
    assert event_filter(args) == EventFilter(
        event_name="a.b",
        event_id="x",
        subject="ADM-1/2",
        source="steadybit",
        after=datetime(2026, 3, 1, 12, tzinfo=UTC),
        before=datetime(2026, 3, 1, 13, tzinfo=UTC),
    )


def test_empty_values_are_no_conditions():
    assert delivery_filter(dict.fromkeys(("ref", "status", "event", "from", "error"), "")) == Filter()
    assert event_filter({"event": " ", "to": ""}) == EventFilter()


def test_a_name_with_a_star_is_a_pattern():
    assert delivery_filter({"event": "experiment.*"}) == Filter(event_pattern="experiment.*")
    assert event_filter({"event": "*.failed"}) == EventFilter(event_pattern="*.failed")


def test_an_age_is_reckoned_from_now():
    before = datetime.now(UTC)
    wanted = event_filter({"from": "2h"})
    assert before <= wanted.after + timedelta(hours=2) <= datetime.now(UTC)


def test_a_plus_sign_that_was_not_encoded_is_understood():
    (pair,) = parse_qsl("from=2026-03-01T14:00+01:00")
    assert event_filter(dict([pair])).after == datetime(2026, 3, 1, 13, tzinfo=UTC)


@pytest.mark.parametrize(
    "args",
    [
        {},
        {"status": "waiting", "listener": "a&b=c", "error": "100% ü #?"},
        {"event": "experiment.*", "from": "2026-03-01T12:00:00.000001Z"},
        {"event": "job", "event_id": "x/y", "subject": "a b", "source": "s", "to": "2026-03-01T12:00:00Z"},
        {"ref": "1,2,3"},
    ],
)
def test_a_filter_is_written_as_it_is_read(args):
    wanted = delivery_filter(args)
    query = dict(parse_qsl(to_query(wanted)))
    assert query == args
    assert delivery_filter(query) == wanted
    of_events = event_filter(args)
    assert event_filter(dict(parse_qsl(to_query(of_events)))) == of_events


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({"status": "lost"}, "status is one of waiting, delivered, dead, discarded, not 'lost'."),
        ({"event": "a.b*"}, "event: 'a.b*' is not an event name"),
        ({"from": "yesterday"}, "from: 'yesterday' is neither a time (2026-11-21T10:30) nor an age (30m, 12h, 7d)."),
        ({"to": "99999999999d"}, "to: '99999999999d' is neither a time"),
        ({"to": "0001-01-01T00:00:00+10:00"}, "is neither a time"),
        ({"error": "a\0b"}, "error is a text of up to 1,000 characters, without NUL"),
        ({"subject": "x" * 1001}, "subject is a text of up to 1,000 characters"),
        ({"listener": "\udc80"}, "listener is a text"),
        ({"ref": "1,x"}, "ref has the numbers of up to 1,000 deliveries, joined by commas, not '1,x'."),
        ({"ref": ",".join(map(str, range(1001)))}, "ref has the numbers"),
        ({"ref": "9" * 19}, "ref has the numbers"),
    ],
)
def test_a_bad_value_is_refused(args, said):
    with pytest.raises(BadFilter) as refused:
        delivery_filter(args)
    assert said in str(refused.value)
    assert len(str(refused.value)) < 250


def test_limits():
    assert [limit_of({}), limit_of({"limit": ""}), limit_of({"limit": "1"}), limit_of({"limit": "200"})] == [
        50,
        50,
        1,
        200,
    ]
    for wrong in ("0", "201", "-1", "1e2", "٣", "9" * 100):
        with pytest.raises(BadFilter, match="limit is a number from 1 to 200, not"):
            limit_of({"limit": wrong})


def test_cursors():
    assert number_of("d", None) is None
    for number in (0, 1, 2**63 - 1):
        assert number_of("d", cursor("d", number)) == number
    for wrong in ("", "d", "7", "e7", "dx", "d-1", f"d{2**63:x}", "d" + "f" * 17, "d7\n"):
        with pytest.raises(BadFilter, match="before is no place in this list"):
            number_of("d", wrong)
