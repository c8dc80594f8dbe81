"""Deliveries are found by every filter, page by page, and no search looks at more than a bounded number of rows."""

from datetime import timedelta
from itertools import pairwise

import pytest
from sqlalchemy import update

from extension_kit.deliveries.queries import Filter
from extension_kit.deliveries.tables import deliveries
from extension_kit.event_log import candidates, newest
from extension_kit.event_log.delivery_search import count_deliveries, deliveries_of, find_deliveries
from extension_kit.event_log.paging import BadFilter
from extension_kit.events.patterns import PatternIndex
from tests.support.event_log import BEGAN

MINUTE = timedelta(minutes=1)

FILTERS = [
    Filter(),
    Filter(status="waiting"),
    Filter(status="dead"),
    Filter(status="delivered"),
    Filter(listener="oncall."),
    Filter(listener="oncall.page@/events/page"),
    Filter(listener="subscription:1"),
    Filter(listener="Oncall"),
    Filter(listener="nobody", status="dead"),
    Filter(listener="subscription:12", status="dead"),
    Filter(event_name="job"),
    Filter(event_name="JOB"),
    Filter(event_pattern="croneye.*"),
    Filter(event_pattern="*"),
    Filter(event_pattern="*.job.error", status="waiting"),
    Filter(event_pattern="*.execution.*"),
    Filter(event_id="id-17"),
    Filter(event_id="id-17", source="late"),
    Filter(event_id="nothing"),
    Filter(source="steadybit"),
    Filter(source="croneye", status="dead", listener="oncall"),
    Filter(source="nobody"),
    Filter(subject="ADM-1/0"),
    Filter(subject="ADM-1/0", status="delivered"),
    Filter(subject="nothing"),
    Filter(error="NO SUCH"),
    Filter(error="100%_d"),
    Filter(error="%"),
    Filter(error="line 2", status="dead"),
    Filter(error="never"),
    Filter(refs=(3, 5, 10**15)),
    Filter(refs=(3, 5), status="dead"),
    Filter(after=BEGAN + 30 * MINUTE),
    Filter(before=BEGAN + 30 * MINUTE),
    Filter(after=BEGAN + 20 * MINUTE, before=BEGAN + 40 * MINUTE),
    Filter(after=BEGAN + 20 * MINUTE, before=BEGAN + 40 * MINUTE, status="dead"),
    Filter(after=BEGAN + 20 * MINUTE, before=BEGAN + 40 * MINUTE, listener="oncall", event_pattern="*.*"),
    Filter(after=BEGAN + timedelta(days=365)),
    Filter(before=BEGAN - timedelta(days=365)),
    Filter(after=BEGAN + 40 * MINUTE, before=BEGAN + 20 * MINUTE),
]


def matches(wanted, row):
    """Whether a delivery is wanted, told without a database."""
    by_pattern = PatternIndex()
    by_pattern.add([wanted.event_pattern or "*"], True)
    exact = {
        "status": row.status,
        "event_name": row.name,
        "event_id": row.event_id,
        "source": row.source,
        "subject": row.subject,
    }
    return (
        all(getattr(wanted, name) in (None, value) for name, value in exact.items())
        and (not wanted.refs or row.ref in wanted.refs)
        and row.listener.startswith(wanted.listener or "")
        and (wanted.error or "").lower() in (row.error or "").lower()
        and bool(by_pattern.match(row.name))
        and (wanted.after is None or row.created_at > wanted.after)
        and (wanted.before is None or row.created_at < wanted.before)
    )


def pages(database, wanted, limit):
    """All pages, each as the numbers of its deliveries."""
    found, before = [], None
    while True:
        with database.read() as connection:
            page = find_deliveries(connection, wanted, before, limit)
        found.append(page)
        if page.next is None:
            return found
        assert page.next != before
        before = page.next


def refs_of(found):
    return [row.ref for page in found for row in page.rows]


@pytest.mark.parametrize("few", [True, False])
def test_every_filter_finds_what_matches(filled, all_deliveries, monkeypatch, few):
    """Also where no index is of use but that of the numbers."""
    if not few:
        for name in ("_FEW", "_FEW_WAIT", "_FEW_LISTENERS"):
            monkeypatch.setattr(candidates, name, -1)
    for wanted in FILTERS:
        expected = [row.ref for row in all_deliveries if matches(wanted, row)]
        found = pages(filled, wanted, 7)
        assert refs_of(found) == expected, wanted
        assert all(len(page.rows) == 7 for page in found[:-1]), wanted
        assert all(page.searched_to is None for page in found), wanted
        assert len(found) == max(1, -(-len(expected) // 7)), wanted
        with filled.read() as connection:
            assert count_deliveries(connection, wanted) == (len(expected), True), wanted


def test_a_search_ends_after_some_candidates_and_goes_on_there(filled, all_deliveries, monkeypatch):
    monkeypatch.setattr(newest, "_FIRST", 3)
    monkeypatch.setattr(newest, "_LARGEST", 10)
    monkeypatch.setattr(newest, "_MOST", 33)
    monkeypatch.setattr(newest, "_SECONDS", 60.0)
    monkeypatch.setattr(candidates, "_FEW", -1)
    for wanted in FILTERS:
        expected = [row.ref for row in all_deliveries if matches(wanted, row)]
        found = pages(filled, wanted, 7)
        assert refs_of(found) == expected, wanted
        for page in found[:-1]:
            assert (page.searched_to is None) == (len(page.rows) == 7), wanted
    found = pages(filled, Filter(error="never"), 7)
    assert [len(page.rows) for page in found] == [0] * len(found)
    assert len(found) == -(-len(all_deliveries) // 33)
    times = [page.searched_to for page in found[:-1]]
    assert times == [all_deliveries[33 * n - 1].created_at for n in range(1, len(found))]
    assert all(later > earlier for later, earlier in pairwise(times))


def test_a_search_ends_after_some_time(filled, monkeypatch):
    monkeypatch.setattr(newest, "_FIRST", 3)
    monkeypatch.setattr(newest, "_LARGEST", 10)
    monkeypatch.setattr(newest, "_MOST", 33)
    monkeypatch.setattr(newest, "_SECONDS", -1.0)
    with filled.read() as connection:
        found = find_deliveries(connection, Filter(error="never"), None, 7)
        assert (len(found.rows), found.searched_to is None) == (0, False)
        assert count_deliveries(connection, Filter(error="never")) == (0, False)


def test_a_count_ends_at_a_number(filled, all_deliveries, monkeypatch):
    monkeypatch.setattr(newest, "COUNTED", 10)
    with filled.read() as connection:
        assert count_deliveries(connection, Filter()) == (10, False)
        assert count_deliveries(connection, Filter(refs=tuple(row.ref for row in all_deliveries[:10]))) == (10, True)
        assert count_deliveries(connection, Filter(refs=tuple(row.ref for row in all_deliveries[:11]))) == (10, False)


def test_a_row_that_is_older_than_its_neighbours_hides_none(filled, all_deliveries):
    """Such as that of an event that could not be filed for days."""
    for place in (5, 100):
        with filled.transaction() as connection:
            late = deliveries.c.ref == all_deliveries[place].ref
            connection.execute(update(deliveries).where(late).values(created_at=BEGAN - timedelta(days=3)))
    with filled.read() as connection:
        for minutes in (10, 50, 80, 110):
            moment = BEGAN + minutes * MINUTE
            wanted = [row.ref for n, row in enumerate(all_deliveries) if row.created_at > moment and n not in (5, 100)]
            assert refs_of([find_deliveries(connection, Filter(after=moment), None, 1000)]) == wanted


def test_pages_hold_still_while_deliveries_are_added(filled, all_deliveries):
    with filled.read() as connection:
        first = find_deliveries(connection, Filter(status="dead"), None, 5)
    with filled.transaction() as connection:
        dead = [row.ref for row in all_deliveries if row.status == "dead"]
        connection.execute(update(deliveries).where(deliveries.c.ref.in_(dead[:3])).values(status="discarded"))
    with filled.read() as connection:
        second = find_deliveries(connection, Filter(status="dead"), first.next, 5)
    assert refs_of([first, second]) == dead[:10]


def test_rows_have_the_event_and_the_last_attempt(filled, all_deliveries):
    with filled.read() as connection:
        row = find_deliveries(connection, Filter(), None, 1).rows[0]
    newest_one = all_deliveries[0]
    assert (row.name, row.source, row.event_id, row.listener) == (
        newest_one.name,
        newest_one.source,
        newest_one.event_id,
        newest_one.listener,
    )
    assert row.last_ended_at - row.last_started_at == timedelta(seconds=1)


def test_a_cursor_of_another_list_is_refused(filled):
    with filled.read() as connection, pytest.raises(BadFilter):
        find_deliveries(connection, Filter(), "e7", 5)


def test_there_may_be_nothing(database):
    with database.read() as connection:
        for wanted in FILTERS:
            assert find_deliveries(connection, wanted, None, 5) == ([], None, None)
            assert count_deliveries(connection, wanted) == (0, True)
        assert deliveries_of(connection, 1) == []


def test_the_deliveries_of_an_event_are_found(filled, all_deliveries):
    with filled.read() as connection:
        for ref in {row.event_ref for row in all_deliveries}:
            mine = sorted(row.ref for row in all_deliveries if row.event_ref == ref)
            assert [row.ref for row in deliveries_of(connection, ref)] == mine
        assert len(deliveries_of(connection, all_deliveries[0].event_ref, limit=1)) == 1
