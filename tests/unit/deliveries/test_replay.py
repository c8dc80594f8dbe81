"""Deliveries are found, tried again, and thrown away, in their order and none twice."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import insert

from extension_kit.deliveries.outbox import Outbox
from extension_kit.deliveries.queries import Filter, count, find, history
from extension_kit.deliveries.replay import discard, replay
from extension_kit.deliveries.tables import (
    DEAD,
    DELIVERED,
    DISCARDED,
    READY,
    WAITING,
    attempts,
)
from extension_kit.deliveries.waiting import obstacles
from tests.support.databases import opened
from tests.support.recording import all_of, change, entry, queries, queued

NOW = datetime.now(UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def outbox(database):
    return Outbox(database)


@pytest.fixture
def dead(database, outbox):
    """Record events, in two series, and let all deliveries die."""

    def dead(number, *listeners):
        outbox.record([entry(str(n), *listeners, series=f"t/{n % 2}") for n in range(number)])
        change(database, status=DEAD, stage=None, attempts=3, due_at=NOW - HOUR, ended_at=NOW, error="no such host")
        return [row.ref for row in all_of(database)]

    return dead


class TestReplaying:
    def test_a_dead_letter_waits_again_with_all_attempts_before_it(self, database, dead):
        (ref,) = dead(1)
        began = datetime.now(UTC)
        assert list(replay(database, Filter())) == [1]
        (row,) = all_of(database)
        assert (row.status, row.attempts, row.uncounted_attempts, row.ended_at) == (WAITING, 3, 3, None)
        assert began <= row.due_at <= datetime.now(UTC)
        assert queued(database) == [(ref, "oncall|t/0", "oncall")]

    def test_many_are_replayed_batch_by_batch_in_the_order_of_their_events(self, database, dead):
        refs = dead(5, "one", "two")
        assert list(replay(database, Filter(), batch=4)) == [4, 4, 2]
        assert [ref for ref, _, _ in queued(database)] == refs
        assert {row.status for row in all_of(database)} == {WAITING}

    def test_what_died_again_meanwhile_is_not_replayed_again(self, database, dead):
        dead(5)
        changed = []
        for number in replay(database, Filter(), batch=2):
            changed.append(number)
            change(database, status=DEAD, stage=None)
            assert len(changed) < 10
        assert changed == [2, 2, 1]

    @pytest.mark.parametrize("status", [WAITING, DELIVERED, DISCARDED])
    def test_only_dead_letters_are(self, database, dead, status):
        refs = dead(2)
        change(database, refs[:1], status=status)
        assert list(replay(database, Filter(status=status))) == [1]
        assert [row.status for row in all_of(database)] == [status, WAITING]
        assert [ref for ref, _, _ in queued(database)] == refs[1:]

    def test_it_comes_before_what_waits_with_its_lock_and_loses_its_losses(self, database, outbox):
        outbox.record([entry(str(n), series="t/1") for n in range(4)])
        first, second, *rest = (row.ref for row in all_of(database))
        change(database, [first, second], status=DEAD, stage=None, losses=5, first_attempt_at=NOW - HOUR)
        assert list(replay(database, Filter(refs=(second,)))) == [1]
        found = {row.ref: row for row in all_of(database)}
        assert (found[second].stage, found[second].losses, found[second].first_attempt_at) == (READY, 0, None)
        with database.read() as connection:
            assert obstacles(connection, list(found.values())) == dict.fromkeys(rest, second)

    def test_two_people_at_once_replay_each_one_once(self, url, database, dead):
        refs = dead(30)
        gate, changed = threading.Barrier(2, timeout=30), []

        def work():
            with opened(url, upgraded=False) as own:
                gate.wait()
                changed.extend(replay(own, Filter(), batch=3))

        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert sum(changed) == 30
        assert sorted(ref for ref, _, _ in queued(database)) == refs


class TestDiscarding:
    def test_a_dead_letter_is_thrown_away_and_stays_to_be_seen(self, database, dead):
        refs = dead(4)
        change(database, refs[3:], status=WAITING, stage=READY)
        (before, *_) = all_of(database)
        assert list(discard(database, Filter(), batch=2)) == [2, 1]
        (row, *_) = all_of(database)
        assert [row.status for row in all_of(database)] == [*[DISCARDED] * 3, WAITING]
        assert row.ended_at >= NOW
        assert {**row._asdict(), "status": DEAD, "ended_at": before.ended_at} == before._asdict()
        assert [ref for ref, _, _ in queued(database)] == refs[3:]
        assert list(replay(database, Filter(refs=(row.ref,)))) == []


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (Filter(), "abcd"),
        (Filter(status=DEAD), "bd"),
        (Filter(listener="oncall."), "abc"),
        (Filter(listener="oncall.page_"), "c"),
        (Filter(listener="%"), ""),
        (Filter(event_name="x.y"), "cd"),
        (Filter(event_pattern="x.*"), "cd"),
        (Filter(event_pattern="X.*"), ""),
        (Filter(event_pattern="*"), "abcd"),
        (Filter(event_pattern="*.y"), "cd"),
        (Filter(event_pattern="*.*.*"), ""),
        (Filter(listener="Oncall."), ""),
        (Filter(event_id="b"), "b"),
        (Filter(event_id="B"), ""),
        (Filter(before=NOW - 2 * HOUR), "a"),
        (Filter(after=NOW - 2 * HOUR), "bcd"),
        (Filter(before=NOW, after=NOW - 2 * HOUR), "b"),
        (Filter(status=DEAD, event_name="x.y", listener="other"), "d"),
        (Filter(status=DEAD, event_name="x.y", listener="oncall"), ""),
    ],
)
def test_a_filter_says_which_are_meant(database, outbox, wanted, found):
    outbox.record(
        [
            entry("a", "oncall.page@/x"),
            entry("b", "oncall.page@/y"),
            entry("c", "oncall.page_@/x", name="x.y"),
            entry("d", "other", name="x.y"),
        ]
    )
    refs = dict(zip("abcd", (row.ref for row in all_of(database)), strict=True))
    change(database, [refs["b"], refs["d"]], status=DEAD)
    change(database, [refs["a"]], created_at=NOW - 3 * HOUR)
    change(database, [refs["b"]], created_at=NOW - HOUR)
    with database.read() as connection:
        assert "".join(sorted(row.event_id for row in find(connection, wanted, 10))) == found
        assert count(connection, wanted) == len(found)
        numbers = tuple(refs[name] for name in found)
        assert not found or count(connection, Filter(refs=numbers)) == len(found)


@pytest.mark.parametrize("status", [WAITING, DEAD])
def test_few_of_a_status_are_counted_without_reading_all(sqlite, status):
    """PostgreSQL concludes by itself that what is dead does not wait."""
    Outbox(sqlite).record([entry("a")])
    with queries(sqlite) as sent, sqlite.read() as connection:
        count(connection, Filter(status=status))
    statement, parameters = sent[-1]
    with sqlite.read() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
    assert "INDEX ix_deliveries_" in plan[0].detail, plan


def test_many_are_counted_in_portions(database, outbox, monkeypatch):
    monkeypatch.setattr("extension_kit.deliveries.queries._COUNTED_AT_ONCE", 3)
    monkeypatch.setattr("extension_kit.deliveries.queries._MOST_PORTIONS", 1)
    outbox.record([entry(str(number), "oncall", "audit", name=f"a.{number % 2}") for number in range(10)])
    refs = [row.ref for row in all_of(database)]
    change(database, refs[4:9], status=DEAD)
    with database.read() as connection:
        for wanted, number in ((Filter(), 20), (Filter(event_name="a.1"), 10), (Filter(status=DEAD), 5)):
            assert count(connection, wanted) == number


def test_the_newest_are_found_first_and_no_more_than_asked_for(database, outbox):
    outbox.record([entry(number, subject=f"s/{number}") for number in "123"])
    with database.read() as connection:
        found = find(connection, Filter(), 2)
        assert [(row.event_id, row.name, row.subject) for row in found] == [("3", "a.b", "s/3"), ("2", "a.b", "s/2")]
        assert count(connection, Filter()) == 3


def test_the_history_of_a_delivery_is_in_order(database, outbox):
    outbox.record([entry("1", "one", "two")])
    one, two = (row.ref for row in all_of(database))
    with database.transaction() as connection:
        for ref, number in ((one, 2), (one, 10), (two, 1), (one, 1)):
            connection.execute(insert(attempts).values(delivery_ref=ref, number=number, started_at=NOW))
    with database.read() as connection:
        assert [row.number for row in history(connection, one)] == [1, 2, 10]
        assert history(connection, two + 1) == []
