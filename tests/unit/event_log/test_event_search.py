"""Events are found by every filter, page by page, with the numbers of their deliveries."""

from collections import Counter
from datetime import timedelta

import pytest

from extension_kit.deliveries.outbox import Outbox
from extension_kit.event_log import candidates, event_search, newest
from extension_kit.event_log.candidates import sources
from extension_kit.event_log.event_search import count_events, event_of, find_events
from extension_kit.event_log.filters import EventFilter
from extension_kit.event_log.paging import BadFilter
from tests.support.event_log import BEGAN
from tests.support.recording import entry

MINUTE = timedelta(minutes=1)

FILTERS = [
    (EventFilter(), lambda row: True),
    (EventFilter(event_name="job"), lambda row: row.name == "job"),
    (EventFilter(event_pattern="croneye.*"), lambda row: row.name.startswith("croneye.")),
    (EventFilter(event_pattern="Croneye.*"), lambda row: False),
    (EventFilter(event_pattern="*.job.*"), lambda row: row.name == "croneye.job.error"),
    (EventFilter(event_pattern="*.job"), lambda row: row.name == "croneye.job"),
    (EventFilter(event_id="id-3"), lambda row: row.event_id == "id-3"),
    (EventFilter(event_id="ID-3"), lambda row: False),
    (EventFilter(event_id="id-3", source="late"), lambda row: row.event_id == "id-3" and row.source == "late"),
    (EventFilter(source="steadybit"), lambda row: row.source == "steadybit"),
    (EventFilter(subject="ADM-1/0"), lambda row: row.subject == "ADM-1/0"),
    (EventFilter(subject="ADM-1/0", event_name="job"), lambda row: row.subject == "ADM-1/0" and row.name == "job"),
    (EventFilter(after=BEGAN + 99 * MINUTE), lambda row: row.received_at > BEGAN + 99 * MINUTE),
    (
        EventFilter(after=BEGAN + 9 * MINUTE, before=BEGAN + 50 * MINUTE, source="croneye"),
        lambda row: BEGAN + 9 * MINUTE < row.received_at < BEGAN + 50 * MINUTE and row.source == "croneye",
    ),
    (EventFilter(before=BEGAN), lambda row: False),
]


def pages(database, wanted, limit):
    found, before = [], None
    while True:
        with database.read() as connection:
            page = find_events(connection, wanted, before, limit)
        found.append(page)
        if (before := page.next) is None:
            return found


@pytest.mark.parametrize("few", [True, False])
def test_every_filter_finds_what_matches(filled, all_events, monkeypatch, few):
    if not few:
        monkeypatch.setattr(candidates, "_FEW", -1)
    for wanted, matches in FILTERS:
        expected = [row.ref for row in all_events if matches(row)]
        found = pages(filled, wanted, 7)
        assert [row.ref for page in found for row in page.rows] == expected, wanted
        assert all(page.searched_to is None for page in found), wanted
        with filled.read() as connection:
            assert count_events(connection, wanted) == (len(expected), True), wanted


def test_a_search_ends_after_some_candidates(filled, all_events, monkeypatch):
    monkeypatch.setattr(newest, "_FIRST", 10)
    monkeypatch.setattr(newest, "_MOST", 30)
    monkeypatch.setattr(newest, "_SECONDS", 60.0)
    found = pages(filled, EventFilter(event_name="never"), 7)
    assert [page.rows for page in found] == [[]] * 4
    assert [page.searched_to for page in found] == [all_events[n].received_at for n in (29, 59, 89)] + [None]


def test_rows_have_all_but_the_body(filled, all_events, all_deliveries):
    with filled.read() as connection:
        found = find_events(connection, EventFilter(), None, 200).rows
    for row, event in zip(found, all_events, strict=True):
        assert (row.source, row.event_id, row.name, row.subject) == event[1:5]
        assert row.received_at == event.received_at
        assert row.size == len(event.body)
        assert not hasattr(row, "body")
        numbers = Counter(each.status for each in all_deliveries if each.event_ref == row.ref)
        wanted = [numbers[status] for status in ("waiting", "delivered", "dead", "discarded")]
        assert [row.waiting, row.delivered, row.dead, row.discarded] == wanted


def test_deliveries_of_an_event_are_counted_up_to_a_number(filled, all_events, monkeypatch):
    monkeypatch.setattr(event_search, "_COUNTED", 0)
    monkeypatch.setattr(event_search, "_LEAST_COUNTED", 2)
    Outbox(filled).record([entry("many", *(f"listener-{n}" for n in range(5)))])
    with filled.read() as connection:
        row = find_events(connection, EventFilter(), None, 1).rows[0]
    assert (row.waiting, row.counted) == (2, 2)


def test_one_event(filled, all_events):
    with filled.read() as connection:
        assert event_of(connection, all_events[3].ref) == all_events[3]
        assert event_of(connection, 10**15) is None


def test_sources_are_listed(filled, database):
    with filled.read() as connection:
        assert sorted(sources(connection)) == ["Steadybit", "croneye", "late", "steadybit"]


def test_there_may_be_nothing(database):
    with database.read() as connection:
        for wanted, _ in FILTERS:
            assert find_events(connection, wanted, None, 5) == ([], None, None)
        assert sources(connection) == []


def test_a_cursor_of_another_list_is_refused(filled):
    with filled.read() as connection, pytest.raises(BadFilter):
        find_events(connection, EventFilter(), "d7", 5)
