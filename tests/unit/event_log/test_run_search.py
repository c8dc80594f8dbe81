"""Runs are found by their events, the one with the newest event first, and the events of one run."""

from collections import Counter
from datetime import timedelta

import pytest
from sqlalchemy import delete, func, select, update

from extension_kit.deliveries.outbox import Outbox
from extension_kit.deliveries.tables import deliveries, events, series
from extension_kit.event_log import newest, run_search
from extension_kit.event_log.delivery_search import find_deliveries
from extension_kit.event_log.event_search import find_events
from extension_kit.event_log.filters import EventFilter, Filter
from extension_kit.event_log.paging import BadFilter
from extension_kit.event_log.run_search import find_runs, run_events
from extension_kit.event_log.spans import Span
from tests.support.event_log import BEGAN
from tests.support.recording import entry

MINUTE = timedelta(minutes=1)
WORDS = ["created", "step-started", "step-completed", "target-failed", "failed"]


@pytest.fixture
def patient(monkeypatch):
    for module in (newest, run_search):
        monkeypatch.setattr(module, "_SECONDS", 60.0)


@pytest.fixture
def runs(database, patient):
    """12 runs, three at a time take turns, with 5 events each; other systems' events are between them."""
    minutes = iter(range(1000))
    for begin in range(0, 12, 3):
        for word in WORDS:
            for number in range(begin, begin + 3):
                minute = next(minutes)
                of_run = {"subject": f"ADM-{number % 2}/{number}", "series": f"exmpl/{number}", "body": b"y" * minute}
                received = BEGAN + minute * MINUTE
                name = f"experiment.execution.{word}"
                record(database, f"{number}-{word}", "oncall", "audit", name=name, received_at=received, **of_run)
                record(database, f"job-{minute}", source="croneye", subject="backup", received_at=received)
    return database


def record(database, *values, **more):
    Outbox(database).record([entry(*values, **more)])


def pages(database, limit):
    found, before = [], None
    while True:
        with database.read() as connection:
            page = find_runs(connection, before, limit)
        found.append(page)
        if (before := page.next) is None:
            return found


def numbers(found):
    return [int(run.subject.partition("/")[2]) for page in found for run in page.rows]


@pytest.mark.parametrize("limit", [1, 2, 5, 12, 50])
def test_every_run_is_on_one_page(runs, limit):
    found = pages(runs, limit)
    assert numbers(found) == list(range(11, -1, -1))
    assert all(len(page.rows) == limit for page in found[:-1])
    assert all(page.searched_to is None for page in found)


def test_what_a_run_tells(runs):
    with runs.transaction() as connection:
        dead = update(deliveries).where(deliveries.c.listener == "audit", deliveries.c.series == "exmpl/7")
        connection.execute(dead.values(status="dead", stage=None))
    (page,) = pages(runs, 50)
    run = page.rows[4]
    assert (run.subject, run.events, run.counted, run.state) == ("ADM-1/7", 5, 5, "failed")
    assert (run.waiting, run.delivered, run.dead, run.discarded) == (5, 0, 5, 0)
    assert run.first_at == BEGAN + 31 * MINUTE
    assert run.last_at == BEGAN + 43 * MINUTE


@pytest.mark.parametrize(
    ("words", "state"),
    [
        (["requested"], "requested"),
        (["requested", "created"], "created"),
        (["created", "step-started"], "running"),
        (["created", "step-started", "canceled"], "canceled"),
        (["step-started"], None),
    ],
)
def test_states(database, patient, words, state):
    for word in words:
        record(database, word, name=f"experiment.execution.{word}", subject="ADM-1/1", series="t/1")
    with database.read() as connection:
        (run,) = find_runs(connection, None, 5).rows
    assert (run.state, run.events) == (state, len(words))


def test_a_run_whose_events_are_far_apart_is_found_once(runs):
    record(runs, "late", subject="ADM-0/0", series="exmpl/0", received_at=BEGAN + timedelta(days=1))
    assert numbers(pages(runs, 4)) == [0, *range(11, 0, -1)]


def test_a_search_goes_on_where_it_ended(runs, monkeypatch):
    monkeypatch.setattr(newest, "_FIRST", 3)
    monkeypatch.setattr(newest, "_LARGEST", 5)
    monkeypatch.setattr(newest, "_MOST", 13)
    found = pages(runs, 5)
    assert numbers(found) == list(range(11, -1, -1))
    assert any(page.searched_to is not None for page in found)


def test_runs_whose_series_is_gone_are_found(runs):
    with runs.transaction() as connection:
        connection.execute(delete(series))
    assert numbers(pages(runs, 50)) == list(range(11, -1, -1))


def test_the_events_of_a_run(runs):
    for number in (0, 5, 11):
        with runs.read() as connection:
            rows = run_events(connection, f"ADM-{number % 2}/{number}")
        assert [row.event_id for row in rows] == [f"{number}-{word}" for word in WORDS]
        assert [len(row.body) for row in rows] == [row.size for row in rows]


def test_the_events_of_an_old_run_are_looked_for_where_they_are(runs, monkeypatch):
    monkeypatch.setattr(newest, "_FIRST", 5)
    monkeypatch.setattr(newest, "_LARGEST", 5)
    monkeypatch.setattr(newest, "_MOST", 45)
    with runs.read() as connection:
        assert len(run_events(connection, "ADM-0/0")) == 5
        found = find_events(connection, EventFilter(subject="ADM-0/0"), None, 50)
        assert Counter(row.source for row in found.rows) == {"steadybit": 5}
        assert len(find_deliveries(connection, Filter(subject="ADM-0/0"), None, 50).rows) == 10


def test_large_bodies_are_left_out(runs, monkeypatch):
    with runs.read() as connection:
        rows = run_events(connection, "ADM-1/11")
        monkeypatch.setattr(run_search, "_MOST_BYTES", rows[-1].size + rows[-2].size)
        cut = run_events(connection, "ADM-1/11")
    assert [row.body for row in cut] == [None, None, None, rows[-2].body, rows[-1].body]
    assert [row.size for row in cut] == [row.size for row in rows]


def test_the_newest_events_of_a_long_run(runs):
    with runs.read() as connection:
        assert [row.event_id for row in run_events(connection, "ADM-1/11", 2)] == ["11-target-failed", "11-failed"]


@pytest.mark.parametrize("subject", ["ADM-1/99", "backup", "x/y", "/", "ADM-1/٣", "x" * 1000 + "/1"])
def test_unknown_runs(runs, subject):
    with runs.read() as connection:
        assert run_events(connection, subject) == []


def test_there_may_be_nothing(database):
    with database.read() as connection:
        assert find_runs(connection, None, 5) == ([], None, None)
        assert run_events(connection, "ADM-1/1") == []
        with pytest.raises(BadFilter):
            find_runs(connection, "e1", 5)


def test_an_event_without_deliveries_is_of_its_run(runs):
    with runs.transaction() as connection:
        connection.execute(delete(deliveries).where(deliveries.c.series == "exmpl/11"))
    with runs.read() as connection:
        run = find_runs(connection, None, 1).rows[0]
    assert (run.subject, run.counted, run.waiting) == ("ADM-1/11", 5, 0)
    with runs.read() as connection:
        assert connection.execute(events.select().where(events.c.subject == "ADM-1/11")).all()


def test_postgresql_looks_at_no_events_outside_a_portion(runs):
    """However it joins them: with 1,000,000 events, merging took it through all that are older."""
    if runs.is_sqlite:
        pytest.skip("SQLite looks up each event")
    with runs.transaction() as connection:
        first = connection.execute(select(func.max(events.c.ref))).scalar_one() - 20
        last_events = run_search._last_events(Span(first, first + 10))
        statement = last_events.compile(connection, compile_kwargs={"literal_binds": True})
        connection.exec_driver_sql("SET LOCAL enable_nestloop = off")
        explained = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}").scalar_one()
    conditions = list(conditions_on_events(explained[0]["Plan"]))
    assert len(conditions) == 2
    for each in conditions:
        assert f"ref >= {first}" in each.replace("'", "")


def conditions_on_events(plan):
    """The conditions by which each step of a plan finds events."""
    if plan.get("Relation Name") == "events":
        yield f"{plan.get('Index Cond')} {plan.get('Filter')}"
    for step in plan.get("Plans", ()):
        yield from conditions_on_events(step)
