"""The transactions of a worker on a real store: what they write, and what becomes of it in trouble."""

import logging
import threading
from datetime import datetime, timedelta

import pytest

from extension_kit.deliveries.tables import BEHIND, CLAIMED, DELIVERED, LATER, READY, WAITING
from extension_kit.engine import scribe as module
from tests.support.queues import in_
from tests.support.scribes import are_over, seldom, transactions_of_looks, worker
from tests.support.waiting import wait_until
from tests.support.workers import Attempts, failed

__all__ = ["seldom", "worker"]  # fixtures


@pytest.fixture
def lines(caplog):
    caplog.set_level(logging.INFO, "extension_kit.engine")
    return lambda: [record.getMessage() for record in caplog.records if record.name == "extension_kit.engine"]


def test_many_are_made_in_few_transactions(stored, worker):
    stored.add(*map(str, range(200)), series="t/1")
    attempts = Attempts()
    made = worker(attempts, quick=["oncall"])
    wait_until(lambda: are_over(stored))
    assert attempts.ended == [*map(str, range(200))]
    assert made.owner.transactions < 100


def test_a_failure_keeps_its_place_and_is_repeated(stored, worker):
    refs = stored.add(*"12345", series="t/1")
    attempts = Attempts({"3": [failed(0.05), failed(0.05)]})
    worker(attempts, quick=["oncall"])
    wait_until(lambda: are_over(stored))
    assert attempts.started == [*"123", "3", *"345"]
    assert stored.attempts(refs[2]) == [(1, "failed"), (2, "failed"), (3, "delivered")]


def test_a_lane_that_grows_does_not_pass_what_fails_meanwhile(stored, worker):
    """Claiming takes its time, and in this time the attempt before the claimed deliveries fails."""
    refs = stored.add(*"1234", series="t/1")
    stored.set(*refs[2:], due_at=in_(3600), stage=LATER)
    hold = {"2": threading.Event()}
    attempts = Attempts({"2": [failed(3600)]}, hold)
    made = worker(attempts, quick=["oncall"])
    wait_until(lambda: "2" in attempts.started)
    stored.set(*refs[2:], due_at=in_(-60), stage=BEHIND)
    claim = made.scribe._claiming.claim

    def slow_claim(*arguments, **options):
        claimed = claim(*arguments, **options)
        if claimed.more:
            hold["2"].set()
            wait_until(lambda: all(lane.is_closed for lane, _ in claimed.more))
        return claimed

    made.scribe._claiming.claim = slow_claim
    made.scribe.wake()
    wait_until(lambda: stored.row(refs[1]).stage == LATER and stored.stages(*refs[2:]) == [BEHIND, BEHIND])
    assert attempts.started == ["1", "2"]
    stored.set(refs[1], stage=READY, due_at=in_(-60))
    made.scribe.wake()
    wait_until(lambda: are_over(stored))
    assert attempts.started == [*"1", "2", *"234"]


def test_an_outage_keeps_ends_and_has_two_lines_in_the_log(stored, worker, lines):
    refs = stored.add("1", "2")
    hold = {"1": threading.Event(), "2": threading.Event()}
    attempts = Attempts(hold=hold)
    made = worker(attempts, quick=["oncall"])
    wait_until(lambda: len(attempts.started) == 2)
    made.owner.is_down = True
    hold["1"].set()
    wait_until(lambda: any("paused" in line for line in lines()))
    hold["2"].set()
    wait_until(lambda: len(attempts.ended) == 2)
    assert stored.stages(*refs) == [CLAIMED, CLAIMED]
    made.owner.is_down = False
    wait_until(lambda: are_over(stored))
    assert attempts.started in (["1", "2"], ["2", "1"])
    # The second comes a moment after the commit.
    first, second = wait_until(lambda: len(told := [line for line in lines() if "Another" not in line]) == 2 and told)
    assert first == "Database unavailable, deliveries paused: the database is gone"
    assert second.startswith("Deliveries resumed after ")


def test_claims_of_a_commit_without_an_answer_are_not_taken_for_lost(stored, worker):
    made = worker(Attempts())
    made.owner.forgets = "SELECT count(*) FROM deliveries WHERE stage = 'claimed'"
    (ref,) = stored.add("1")
    made.scribe.wake()
    wait_until(lambda: are_over(stored))
    assert made.owner.forgets is None
    assert stored.attempts(ref) == [(1, "delivered")]
    assert stored.row(ref).losses == 0


def test_ends_of_a_commit_without_an_answer_are_written_once(stored, worker):
    refs = stored.add("1", "2", "3", series="t/1")
    hold = {"1": threading.Event()}
    attempts = Attempts({"2": [failed(0.05)]}, hold)
    made = worker(attempts, quick=["oncall"])
    wait_until(lambda: attempts.started)
    made.owner.forgets = "SELECT count(*) FROM deliveries WHERE status = 'delivered'"
    hold["1"].set()
    wait_until(lambda: are_over(stored))
    assert made.owner.forgets is None
    assert attempts.started == [*"12", *"23"]
    assert [len(stored.attempts(ref)) for ref in refs] == [1, 2, 1]


def test_claims_that_a_crash_of_the_database_has_taken_back_are_restored(stored, worker):
    refs = stored.add("1", "2", series="t/1")
    hold = {"1": threading.Event()}
    attempts = Attempts(hold=hold)
    made = worker(attempts, quick=["oncall"])
    wait_until(lambda: attempts.started)
    made.owner.is_down = True
    time_of_claim = stored.row(refs[0]).claimed_at
    stored.set(*refs, stage=READY, claimed_at=None)
    looks = made.owner.looks
    wait_until(lambda: made.owner.looks > looks)
    made.owner.is_down = False
    wait_until(lambda: stored.row(refs[0]).claimed_at == time_of_claim)
    hold["1"].set()
    wait_until(lambda: are_over(stored))
    assert attempts.started == ["1", "2"]


def test_what_others_have_taken_over_meanwhile_is_left_to_them(stored, worker):
    """The shard was another worker's for a while: it has counted the attempt as lost, and given the rest up."""
    refs = stored.add("1", "2", "3", series="t/1")
    hold = {"1": threading.Event()}
    attempts = Attempts(hold=hold)
    made = worker(attempts, quick=["oncall"])
    wait_until(lambda: attempts.started)
    made.owner.is_down = True
    looks = made.owner.looks
    wait_until(lambda: made.owner.looks > looks)
    stored.set(*refs, stage=READY, claimed_at=None)
    stored.set(refs[0], attempts=1, losses=1)
    made.owner.is_down = False
    wait_until(lambda: stored.stages(*refs[1:]) == [BEHIND, BEHIND] or stored.stages(*refs[1:]) == [READY, BEHIND])
    hold["1"].set()
    wait_until(lambda: are_over(stored))
    assert attempts.started == ["1", *"123"]  # none has passed the one that was lost


def test_claims_of_a_dead_worker_are_taken_over(stored, worker, lines):
    refs = stored.add("1", "2", "3", series="t/1")
    alone, suspect = stored.add("4", "5")
    stored.set(suspect, losses=2)
    stored.claim(refs[0], refs[1], alone, suspect)
    attempts = Attempts()
    worker(attempts)
    wait_until(lambda: are_over(stored))
    assert "Took over 3 deliveries of dead workers" in lines()
    assert [event for event in attempts.started if event in "123"] == [*"123"]
    assert stored.attempts(refs[0]) == stored.attempts(alone) == [(1, "lost"), (2, "delivered")]
    assert stored.attempts(refs[1]) == [(1, "delivered")]
    assert [stored.row(ref).uncounted_attempts for ref in (refs[0], refs[1], alone, suspect)] == [1, 0, 1, 0]


def test_a_worker_that_stops_gives_up_what_has_not_begun_and_ends_the_rest(stored, worker):
    refs = stored.add("1", "2", "3", series="t/1")
    hold = {"1": threading.Event()}
    attempts = Attempts(hold=hold)
    made = worker(attempts, quick=["oncall"])
    wait_until(lambda: attempts.started)
    made.scribe.stop()
    wait_until(lambda: CLAIMED not in stored.stages(*refs[1:]))
    stored.add("4")
    hold["1"].set()
    made.end()
    assert stored.statuses() == {"1": DELIVERED, "2": WAITING, "3": WAITING, "4": WAITING}
    assert stored.attempts(refs[0]) == [(1, "delivered")]
    assert stored.row(refs[1]).stage == READY  # another finds it at once


def test_a_worker_that_stops_hands_back_what_does_not_end_in_time(stored, worker):
    (ref,) = stored.add("1")
    hold = {"1": threading.Event()}
    attempts = Attempts(hold=hold)
    made = worker(attempts, grace_period=0.05)
    wait_until(lambda: attempts.started)
    made.end()
    assert stored.attempts(ref) == [(1, "handed back")]
    assert (stored.row(ref).stage, stored.row(ref).uncounted_attempts) == (READY, 1)
    hold["1"].set()


def test_a_worker_can_be_stopped_while_the_database_is_gone(stored, worker, lines):
    (ref,) = stored.add("1")
    hold = {"1": threading.Event()}
    attempts = Attempts(hold=hold)
    made = worker(attempts)
    wait_until(lambda: attempts.started)
    made.owner.is_down = True
    hold["1"].set()
    wait_until(lambda: attempts.ended)
    made.end()
    assert "Worker one stopped while the database was unavailable" in lines()
    assert stored.stages(ref) == [CLAIMED]  # another takes it over


def test_a_clock_that_is_set_back_postpones_nothing(stored, worker, monkeypatch, seldom):
    (ref,) = stored.add("1")
    attempts = Attempts({"1": [failed(0.3)]})
    worker(attempts)
    wait_until(lambda: stored.row(ref).stage == LATER)
    back = timedelta(days=1)

    class Clock(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) - back

    for name in ("scribe", "delays", "lanes"):
        monkeypatch.setattr(f"extension_kit.engine.{name}.datetime", Clock)
    wait_until(lambda: attempts.ended == ["1"])
    wait_until(lambda: are_over(stored))


def test_what_fails_is_repeated_on_time(stored, worker, seldom):
    """Nothing but the time of the next attempt tells the worker."""
    stored.add("1", "2")
    attempts = Attempts({"1": [failed(0.2)], "2": [failed(0.3)]})
    worker(attempts)
    wait_until(lambda: are_over(stored))


def test_attempts_that_become_slow_make_room_for_others_at_once(stored, worker, seldom, monkeypatch):
    monkeypatch.setattr("extension_kit.engine.shares.SLOW", 0.2)
    hold = {name: threading.Event() for name in "abcd"}
    for name in hold:
        stored.add(name, listener=name)
    attempts = Attempts(hold=hold)
    made = worker(attempts, quick=["a", "b", "c", "d", "e"])
    wait_until(lambda: len(attempts.started) == 4)
    stored.add("e", listener="e")
    made.scribe.wake()
    wait_until(lambda: "e" in attempts.ended)
    for event in hold.values():
        event.set()


def test_threads_that_are_idle_get_work_at_once(stored, worker, seldom, monkeypatch):
    """Notes of threads that go on may wait longer."""
    monkeypatch.setattr(module, "_NOTES_APART", 3600.0)
    monkeypatch.setattr("extension_kit.engine.shares.SLOW", 3600.0)
    stored.add(*map(str, range(23)))
    attempts = Attempts()
    worker(attempts, threads=2)
    wait_until(lambda: len(attempts.ended) == 23)


def test_what_may_be_made_is_found_behind_much_that_may_not(stored, worker, seldom):
    first, *behind = stored.add(*map(str, range(301)), series="t/1")
    stored.set(first, stage=LATER, due_at=in_(3600))
    stored.set(*behind, stage=READY)
    stored.add("due")
    attempts = Attempts()
    worker(attempts, threads=2)
    wait_until(lambda: attempts.ended == ["due"])


def test_a_worker_without_free_threads_waits_quietly(stored, worker):
    """Also when something that failed is due again."""
    (ref,) = stored.add("f")
    hold = {event: threading.Event() for event in "f123456789"}
    attempts = Attempts({"f": [failed(0.1)]}, hold)
    made = worker(attempts, threads=2)
    wait_until(lambda: attempts.started)
    stored.add(*list(hold)[1:])
    wait_until(lambda: len(attempts.started) == 2)
    hold["f"].set()
    wait_until(lambda: len(attempts.started) == 3)
    wait_until(lambda: stored.row(ref).stage == READY)
    transactions = transactions_of_looks(made, 4)
    for event in hold.values():
        event.set()
    assert transactions < 16


def test_suspects_wait_quietly_for_each_other(stored, worker):
    refs = stored.add(*"123")
    stored.set(*refs, losses=2)
    hold = {"1": threading.Event()}
    attempts = Attempts(hold=hold)
    made = worker(attempts, quick=["oncall"])
    wait_until(lambda: attempts.started)
    transactions = transactions_of_looks(made, 4)
    assert attempts.started == ["1"]
    hold["1"].set()
    wait_until(lambda: are_over(stored))
    assert transactions < 16


def test_a_worker_that_stops_waits_quietly(stored, worker):
    stored.add("1", "2")
    hold = {"1": threading.Event()}
    attempts = Attempts({"2": [failed(0.2)]}, hold)
    made = worker(attempts, grace_period=20.0)
    wait_until(lambda: len(attempts.started) == 2)
    made.scribe.stop()
    assert transactions_of_looks(made, 4) < 16
    hold["1"].set()


def test_a_shard_is_kept_until_its_last_end_is_written(stored, worker, monkeypatch):
    monkeypatch.setattr(module, "_LOOK", 0.001)  # at the beginning of each turn
    (ref,) = stored.add("1")
    hold = {"1": threading.Event()}
    attempts = Attempts(hold=hold)
    made = worker(attempts)
    wait_until(lambda: attempts.started)
    seen = []
    look = made.owner._owner.look

    def watched(busy):
        if stored.row(ref).stage == CLAIMED:
            seen.append(set(busy))
        return look(busy)

    made.owner._owner.look = watched
    hold["1"].set()
    wait_until(lambda: are_over(stored))
    assert all(busy == {stored.row(ref).shard} for busy in seen)


def test_an_error_of_the_kit_itself_ends_nothing(stored, worker, caplog, monkeypatch):
    monkeypatch.setattr(module, "_PAUSE", 0.01)
    made = worker(Attempts())
    wait_until(lambda: made.owner.transactions)
    claim, failures = made.scribe._claiming.claim, [ValueError("a mistake")] * 2

    def broken(*arguments, **options):
        if failures:
            raise failures.pop()
        return claim(*arguments, **options)

    made.scribe._claiming.claim = broken
    stored.add("1")
    made.scribe.wake()
    wait_until(lambda: are_over(stored))
    assert caplog.text.count("Worker one failed, going on in 0.01 s") == 2
