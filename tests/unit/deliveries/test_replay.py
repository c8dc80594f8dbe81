"""Deliveries are found, tried again, thrown away, and queued anew, in their order and none twice."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import insert, select, update

from extension_kit.deliveries import replay as module
from extension_kit.deliveries.outbox import Outbox
from extension_kit.deliveries.replay import Filter, count, discard, find, history, rebuild, replay
from extension_kit.deliveries.tables import DEAD, DELIVERED, DISCARDED, WAITING, attempts, deliveries
from extension_kit.engine.app import Engine
from tests.unit.deliveries.recording import entry, queue_of, queued, rows

NOW = datetime.now(UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def outbox(database, engine):
    return Outbox(database, engine)


def change(database, refs=None, **values):
    """Have something become of deliveries; of all, where none is named."""
    with database.transaction() as connection:
        wanted = deliveries.c.ref.in_(refs) if refs else deliveries.c.ref > 0
        connection.execute(update(deliveries).where(wanted).values(values))


@pytest.fixture
def dead(database, outbox):
    """Record events, in two series, and let all deliveries die; their jobs are gone."""

    def dead(number, *listeners):
        outbox.record([entry(str(n), *listeners, series=f"t/{n % 2}") for n in range(number)])
        change(database, status=DEAD, attempts=3, due_at=NOW - HOUR, ended_at=NOW, error="no such host")
        with database.transaction() as connection:
            connection.exec_driver_sql("DELETE FROM procrastinate_jobs")
            return sorted(connection.execute(select(deliveries.c.ref)).scalars())

    return dead


def all_of(database):
    with database.read() as connection:
        return connection.execute(select(deliveries).order_by(deliveries.c.ref)).all()


class TestReplaying:
    def test_a_dead_letter_waits_again_with_all_attempts_before_it(self, database, engine, dead):
        (ref,) = dead(1)
        began = datetime.now(UTC)
        assert list(replay(database, engine, Filter())) == [1]
        (row,) = all_of(database)
        assert (row.status, row.attempts, row.earlier, row.ended_at) == (WAITING, 3, 3, None)
        assert began <= row.due_at <= datetime.now(UTC)
        assert queued(database) == [(ref, "oncall|t/0", "oncall")]

    def test_many_are_replayed_batch_by_batch_in_the_order_of_their_events(self, database, engine, dead, monkeypatch):
        monkeypatch.setattr(module, "_BATCH", 4)
        refs = dead(5, "one", "two")
        assert list(replay(database, engine, Filter())) == [4, 4, 2]
        assert [ref for ref, _, _ in queued(database)] == refs
        assert {row.status for row in all_of(database)} == {WAITING}

    def test_what_died_again_meanwhile_is_not_replayed_again(self, database, engine, dead, monkeypatch):
        monkeypatch.setattr(module, "_BATCH", 2)
        dead(5)
        changed = []
        for number in replay(database, engine, Filter()):
            changed.append(number)
            change(database, status=DEAD)
            assert len(changed) < 10
        assert changed == [2, 2, 1]

    @pytest.mark.parametrize("status", [WAITING, DELIVERED, DISCARDED])
    def test_only_dead_letters_are(self, database, engine, dead, status):
        refs = dead(2)
        change(database, refs[:1], status=status)
        assert list(replay(database, engine, Filter(status=status))) == [1]
        assert [row.status for row in all_of(database)] == [status, WAITING]
        assert [ref for ref, _, _ in queued(database)] == refs[1:]

    def test_a_queue_that_fails_leaves_them_dead(self, database, dead):
        class Failing:
            def defer(self, connection, jobs):
                raise ZeroDivisionError

        dead(2)
        before = all_of(database)
        with pytest.raises(ZeroDivisionError):
            list(replay(database, Failing(), Filter()))
        assert all_of(database) == before

    def test_two_people_at_once_replay_each_one_once(self, url, database, dead, monkeypatch):
        monkeypatch.setattr(module, "_BATCH", 3)
        refs = dead(30)
        gate, changed = threading.Barrier(2, timeout=30), []

        def work():
            with queue_of(url) as own:
                gate.wait()
                changed.extend(replay(own.database, own, Filter()))

        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert sum(changed) == 30
        assert sorted(ref for ref, _, _ in queued(database)) == refs


class TestDiscarding:
    def test_a_dead_letter_is_thrown_away_and_stays_to_be_seen(self, database, engine, dead, monkeypatch):
        monkeypatch.setattr(module, "_BATCH", 2)
        refs = dead(4)
        change(database, refs[3:], status=WAITING)
        (before, *_) = all_of(database)
        assert list(discard(database, Filter())) == [2, 1]
        (row, *_) = all_of(database)
        assert [row.status for row in all_of(database)] == [*[DISCARDED] * 3, WAITING]
        assert row.ended_at >= NOW
        assert {**row._asdict(), "status": DEAD, "ended_at": before.ended_at} == before._asdict()
        assert rows(database, "procrastinate_jobs") == [0]
        assert list(replay(database, engine, Filter(refs=(row.ref,)))) == []


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (Filter(), "abcd"),
        (Filter(status=DEAD), "bd"),
        (Filter(listener="oncall."), "abc"),
        (Filter(listener="oncall.page_"), "c"),
        (Filter(listener="%"), ""),
        (Filter(event_name="x.y"), "cd"),
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


class TestRebuilding:
    def test_the_queue_is_what_waits_in_its_order(self, database, engine, outbox, monkeypatch):
        monkeypatch.setattr(module, "_BATCH", 2)
        outbox.record([entry(str(n), "one", series=f"t/{n % 2}") for n in range(8)])
        refs = [row.ref for row in all_of(database)]
        change(database, refs[1:2], status=DEAD)
        change(database, refs[6:7], due_at=NOW + HOUR)
        with database.transaction() as connection:
            connection.exec_driver_sql("DELETE FROM procrastinate_jobs WHERE id > 3")
        told = []
        with database.transaction() as connection:
            assert rebuild(connection, engine, told.append) == 7
        assert [ref for ref, _, _ in queued(database)] == refs[:1] + refs[2:]
        assert [lock for _, lock, _ in queued(database)] == [f"one|t/{n % 2}" for n in range(8) if n != 1]
        assert told == [2, 2, 2, 1]
        with database.read() as connection:
            later = connection.exec_driver_sql("SELECT count(*) FROM procrastinate_jobs WHERE waits_for = 'time'")
            assert later.scalar() == 1

    def test_of_nothing_is_nothing(self, database, engine):
        with database.transaction() as connection:
            assert rebuild(connection, engine) == 0

    def test_what_is_recorded_just_before_is_not_lost(self, postgresql_url):
        """On PostgreSQL others record events until the queue is locked."""

        class Late(Engine):
            def rebuild(self, connection, jobs):
                with queue_of(postgresql_url) as other:
                    Outbox(other.database, other).record([entry("late")])
                return super().rebuild(connection, jobs)

        with queue_of(postgresql_url) as engine:
            Outbox(engine.database, engine).record([entry("early")])
            with engine.database.transaction() as connection:
                assert rebuild(connection, Late(engine.database)) == 2
            assert [ref for ref, _, _ in queued(engine.database)] == [row.ref for row in all_of(engine.database)]
