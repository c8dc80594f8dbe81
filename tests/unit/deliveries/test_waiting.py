"""Waiting deliveries are retried now or discarded, and those that waited for them are called up."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from extension_kit.deliveries.call_up import call_up
from extension_kit.deliveries.outbox import Outbox
from extension_kit.deliveries.queries import Filter
from extension_kit.deliveries.tables import (
    BEHIND,
    CLAIMED,
    DEAD,
    DELIVERED,
    DISCARDED,
    LATER,
    READY,
    WAITING,
    deliveries,
)
from extension_kit.deliveries.waiting import discard_waiting, obstacles, retry_now
from tests.support.databases import opened
from tests.support.driving import claimed
from tests.support.postgresql import KEPT_WAITING
from tests.support.recording import all_of, change, entry, stages
from tests.support.waiting import wait_until

NOW = datetime.now(UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def refs(database):
    """Four deliveries of one lock, the first of which waits for its time."""
    Outbox(database).record([entry(str(n), series="t/1") for n in range(4)])
    refs = [row.ref for row in all_of(database)]
    change(database, refs[:1], stage=LATER, due_at=NOW + HOUR, attempts=1, error="busy")
    return refs


class TestRetryingNow:
    def test_it_is_due_and_nothing_else_changes(self, database, refs):
        before = all_of(database)
        began = datetime.now(UTC)
        assert list(retry_now(database, Filter(refs=(refs[0],)))) == [(1, 0)]
        first, *rest = all_of(database)
        assert (first.stage, first.attempts, first.error) == (READY, 1, "busy")
        assert began <= first.due_at <= datetime.now(UTC)
        assert rest == before[1:]

    def test_what_is_behind_stays_behind(self, database, refs):
        assert list(retry_now(database, Filter(refs=(refs[2],)))) == [(1, 0)]
        assert stages(database) == [LATER, BEHIND, BEHIND, BEHIND]
        assert list(retry_now(database, Filter())) == [(4, 0)]
        assert stages(database) == [READY, BEHIND, BEHIND, BEHIND]

    def test_what_was_lost_sight_of_is_found_again(self, database, refs):
        change(database, refs[:1], stage=None)
        assert list(retry_now(database, Filter(refs=(refs[0],)))) == [(1, 0)]
        assert stages(database)[0] == READY

    def test_what_is_being_attempted_is_left_alone(self, database, refs):
        claim = claimed(database, refs[0], NOW)
        before = all_of(database)
        assert list(retry_now(database, Filter(refs=tuple(refs[:2])))) == [(1, 1)]
        assert all_of(database)[0] == before[0]
        assert all_of(database)[0].claimed_at == claim.claimed_at

    @pytest.mark.parametrize("status", [DEAD, DELIVERED, DISCARDED])
    def test_only_what_waits(self, database, refs, status):
        change(database, refs[:1], status=status, stage=None)
        assert list(retry_now(database, Filter(status=status))) == [(3, 0)]
        assert all_of(database)[0].status == status


@pytest.mark.parametrize("change_all", [retry_now, discard_waiting])
def test_every_filter_is_honoured(database, change_all):
    one = entry("1", name="experiment.execution.failed", subject="ADM-1/7")
    Outbox(database).record([one, entry("2", source="croneye", name="croneye.job.error")])
    ref, _ = (row.ref for row in all_of(database))
    change(database, [ref], error="HTTP 503")
    for none in (
        Filter(event_pattern="experiment.*.error"),
        Filter(subject="ADM-1/8"),
        Filter(source="steadybit", error="404"),
        Filter(event_name="croneye.job.error", error="503"),
    ):
        assert list(change_all(database, none)) == []
    wanted = Filter(event_pattern="experiment.*", subject="ADM-1/7", source="steadybit", error="http")
    assert list(change_all(database, wanted)) == [(1, 0)]
    assert sum(row.due_at > row.created_at or row.status == DISCARDED for row in all_of(database)) == 1


class TestDiscarding:
    def test_the_next_of_the_lock_is_called_up(self, database, refs):
        for place in range(4):
            assert list(discard_waiting(database, Filter(refs=(refs[place],)))) == [(1, 0)]
            gone = place + 1
            assert stages(database) == ([None] * gone + [READY] * (gone < 4) + [BEHIND] * 4)[:4]
        rows = all_of(database)
        assert {row.status for row in rows} == {DISCARDED}
        assert all(row.ended_at >= NOW for row in rows)

    def test_one_in_the_middle_calls_nobody_up(self, database, refs):
        assert list(discard_waiting(database, Filter(refs=(refs[1],)))) == [(1, 0)]
        assert stages(database) == [LATER, None, BEHIND, BEHIND]

    def test_what_is_being_attempted_is_left_alone_and_so_are_those_behind_it(self, database, refs):
        assert claimed(database, refs[0]) is not None
        assert list(discard_waiting(database, Filter(refs=tuple(refs[:2])))) == [(1, 1)]
        assert stages(database) == [CLAIMED, None, BEHIND, BEHIND]
        assert all_of(database)[0].status == WAITING

    def test_many_are_discarded_batch_by_batch(self, database, refs, monkeypatch):
        monkeypatch.setattr("extension_kit.deliveries.waiting._BATCH", 2)
        Outbox(database).record([entry("last", series="t/1")])
        found = discard_waiting(database, Filter(refs=tuple(refs)))
        assert next(found) == (2, 0)
        assert stages(database) == [None, None, READY, BEHIND, READY]
        assert list(found) == [(2, 0)]
        assert stages(database) == [None, None, None, None, READY]

    def test_what_ended_since_it_was_looked_for_is_not_counted(self, database, refs, monkeypatch):
        monkeypatch.setattr("extension_kit.deliveries.waiting._BATCH", 2)
        found = discard_waiting(database, Filter())
        assert next(found) == (2, 0)
        change(database, refs[2:3], status=DELIVERED, stage=None)
        assert list(found) == [(1, 0)]
        assert [row.status for row in all_of(database)] == [DISCARDED, DISCARDED, DELIVERED, DISCARDED]

    def test_numbers_are_read_in_portions(self, database, refs, monkeypatch):
        monkeypatch.setattr("extension_kit.deliveries.waiting._AT_ONCE", 3)
        monkeypatch.setattr("extension_kit.deliveries.waiting._BATCH", 2)
        assert list(discard_waiting(database, Filter())) == [(2, 0), (1, 0), (1, 0)]

    def test_what_is_added_meanwhile_is_left_alone(self, database, refs, monkeypatch):
        monkeypatch.setattr("extension_kit.deliveries.waiting._AT_ONCE", 2)
        found = discard_waiting(database, Filter())
        assert next(found) == (2, 0)
        Outbox(database).record([entry("later")])
        assert list(found) == [(2, 0)]
        assert [row.status for row in all_of(database)] == [DISCARDED] * 4 + [WAITING]

    def test_two_people_at_once_discard_each_one_once(self, url, database, refs, monkeypatch):
        monkeypatch.setattr("extension_kit.deliveries.waiting._BATCH", 3)
        Outbox(database).record([entry(f"more-{n}", series=f"t/{n % 3}") for n in range(30)])
        gate, changed = threading.Barrier(2, timeout=30), []

        def work():
            with opened(url, upgraded=False) as own:
                gate.wait()
                changed.extend(discard_waiting(own, Filter()))

        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert sum(each.changed for each in changed) == 34
        assert {row.status for row in all_of(database)} == {DISCARDED}

    def test_the_next_one_is_called_up_if_another_discards_the_one_between(self, used_postgresql_url):
        """The first and the second are discarded at once, by two who each see the other's still wait."""
        with opened(used_postgresql_url, upgraded=False) as database:
            Outbox(database).record([entry(str(n), series="t/1") for n in range(3)])
            first, second, _ = (row.ref for row in all_of(database))
            with database.transaction() as connection:
                connection.execute(
                    update(deliveries).where(deliveries.c.ref == second).values(status=DISCARDED, stage=None)
                )
                found = discard_waiting(database, Filter(refs=(first,)))
                discarding = threading.Thread(target=list, args=(found,))
                discarding.start()
                wait_until(lambda: connection.exec_driver_sql(KEPT_WAITING).scalar_one())
            discarding.join(20)
            assert stages(database) == [None, None, READY]


class TestCallingUp:
    def called(self, database, *locks):
        with database.transaction() as connection:
            call_up(connection, locks)
        return stages(database)

    def test_the_first_of_each_lock_that_is_behind(self, database, refs):
        change(database, refs[:1], status=DELIVERED, stage=None)
        assert self.called(database, "oncall|t/2") == [None, BEHIND, BEHIND, BEHIND]
        assert self.called(database, "oncall|t/1") == [None, READY, BEHIND, BEHIND]

    @pytest.mark.parametrize("stage", [LATER, CLAIMED, READY])
    def test_nobody_while_another_is_the_first(self, database, refs, stage):
        change(database, refs[:1], stage=stage)
        assert self.called(database, "oncall|t/1") == [stage, BEHIND, BEHIND, BEHIND]


def test_obstacles_are_the_first_of_the_lock(database, refs):
    Outbox(database).record([entry("free"), entry("other", series="t/2")])

    def found():
        rows = all_of(database)
        with database.read() as connection:
            return obstacles(connection, rows)

    assert found() == dict.fromkeys(refs[1:], refs[0])
    change(database, refs[:1], status=DEAD, stage=None)
    assert found() == dict.fromkeys(refs[2:], refs[1])
