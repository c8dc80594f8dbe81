"""Pauses in a worker on a real store: nothing begins, what is claimed goes back, and nobody else is held up."""

import threading

from extension_kit.deliveries.handler import Handler
from extension_kit.deliveries.pauses import pause, read_pauses, resume
from extension_kit.deliveries.retry import RetrySchedule
from extension_kit.deliveries.tables import BEHIND, CLAIMED, DELIVERED, READY, WAITING
from tests.support.queues import in_
from tests.support.scribes import are_over, seldom, transactions_of_looks, worker
from tests.support.waiting import wait_until
from tests.support.workers import Attempts, failed

__all__ = ["seldom", "worker"]  # fixtures


def paused(stored, *keys):
    with stored.database.transaction() as connection:
        for key in keys:
            pause(connection, key, "anna")


def resumed(stored, made, key="oncall"):
    with stored.database.transaction() as connection:
        resume(connection, key)
    made.scribe.wake()


def test_nothing_is_attempted_until_it_is_resumed(stored, worker, seldom):
    refs = stored.add(*"123", series="t/1")
    paused(stored, "oncall")
    attempts = Attempts()
    made = worker(attempts)
    stored.add("4", listener="other")
    made.scribe.wake()
    wait_until(lambda: attempts.ended == ["4"])
    assert stored.stages(*refs) == [READY, BEHIND, BEHIND]
    resumed(stored, made)
    wait_until(lambda: are_over(stored))
    assert attempts.ended == [*"4123"]
    assert stored.attempts(refs[0]) == [(1, "delivered")]


def test_claims_are_given_back_uncounted_and_the_attempt_in_progress_ends(stored, worker, seldom):
    """In their lane, behind others of their listener, and alone."""
    lane = stored.add(*map(str, range(9)), series="t/1")
    alone = stored.add(*(f"a{number}" for number in range(12)))
    names = [*map(str, range(9)), *(f"a{number}" for number in range(12))]
    hold = {name: threading.Event() for name in names}
    attempts = Attempts(hold=hold)
    made = worker(attempts, threads=2, quick=["oncall"])
    wait_until(lambda: len(attempts.started) == 2)
    claimed = [ref for ref in lane + alone if stored.row(ref).stage == CLAIMED]
    assert len(claimed) > 2
    paused(stored, "oncall")
    made.scribe.wake()
    wait_until(lambda: stored.stages(*lane, *alone).count(CLAIMED) == 2)
    for event in hold.values():
        event.set()
    wait_until(lambda: stored.stages(*lane, *alone).count(CLAIMED) == 0)
    assert sorted(attempts.started) == sorted(attempts.ended)
    assert len(attempts.ended) == 2
    waiting = [ref for ref in lane + alone if stored.row(ref).status == WAITING]
    assert {(stored.row(ref).attempts, stored.row(ref).losses) for ref in waiting} == {(0, 0)}
    resumed(stored, made)
    wait_until(lambda: are_over(stored))
    assert sorted(attempts.started) == sorted(names)
    assert [name for name in attempts.ended if name.isdecimal()] == [*map(str, range(9))]


def test_an_attempt_in_progress_that_fails_waits_for_its_time_and_the_others(stored, worker, seldom):
    refs = stored.add(*"12", series="t/1")
    hold = {"1": threading.Event()}
    attempts = Attempts({"1": [failed(0.01)]}, hold)
    made = worker(attempts, quick=["oncall"])
    wait_until(lambda: attempts.started)
    paused(stored, "oncall")
    made.scribe.wake()
    wait_until(lambda: stored.stages(refs[1]) != [CLAIMED])
    hold["1"].set()
    wait_until(lambda: stored.row(refs[0]).attempts == 1)
    stored.add("3", listener="other")
    made.scribe.wake()
    wait_until(lambda: "3" in attempts.ended)
    wait_until(lambda: stored.row(refs[0]).stage == READY)
    assert attempts.started == ["1", "3"]
    resumed(stored, made)
    wait_until(lambda: are_over(stored))
    assert attempts.started == [*"1312"]


def test_much_that_waits_for_a_paused_receiver_costs_no_transactions_and_holds_up_nobody(stored, worker):
    """The paused one comes first in the order of listeners, and has several times what is looked at."""
    stored.add(*map(str, range(500)), listener="a", series="t/1")
    stored.add(*(f"b{number}" for number in range(500)), listener="a")
    paused(stored, "a", *(f"aa{number}" for number in range(100)))
    for number in range(100):
        stored.add(f"c{number}", listener=f"aa{number}")
    attempts = Attempts()
    made = worker(attempts, threads=4)
    stored.add(*(f"d{number}" for number in range(50)), listener="z")
    wait_until(lambda: len(attempts.ended) == 50)
    wait_until(lambda: list(stored.statuses().values()).count(DELIVERED) == 50)
    assert transactions_of_looks(made, 8) < 16
    assert made.owner.transactions < 200
    assert {name[0] for name in attempts.ended} == {"d"}


def test_pauses_are_read_seldom_while_others_commit_all_the_time(stored, worker, seldom, monkeypatch):
    monkeypatch.setattr("extension_kit.engine.pauses._APART", 3600.0)
    read = []
    monkeypatch.setattr(
        "extension_kit.engine.pauses.read_pauses", lambda connection: read.append(1) or read_pauses(connection)
    )
    attempts = Attempts()
    made = worker(attempts)
    for number in range(20):
        stored.add(str(number))
        made.scribe.wake()
        wait_until(lambda number=number: len(attempts.ended) == number + 1)
    assert len(read) == 1


def test_a_worker_that_lost_its_connection_reads_them_again(stored, worker, seldom, monkeypatch):
    monkeypatch.setattr("extension_kit.engine.pauses._APART", 0.0)
    attempts = Attempts()
    made = worker(attempts)
    wait_until(lambda: made.owner.transactions)
    made.owner.is_down = True
    paused(stored, "oncall")
    stored.add("1")
    made.scribe.wake()
    wait_until(lambda: made.scribe._is_uncertain)
    made.owner.is_down = False
    stored.add("2", listener="other")
    wait_until(lambda: attempts.ended == ["2"])
    resumed(stored, made)
    wait_until(lambda: are_over(stored))


def test_a_receiver_that_still_rests_after_the_pause_has_its_whole_schedule_again(stored, worker, seldom):
    (ref,) = stored.add("1", first_attempt_at=in_(-7200), attempts=1)
    paused(stored, "oncall")
    rests = [0.05, 0.0]
    attempts = Attempts()
    handler = Handler(attempts, RetrySchedule((60.0,)), 60.0, lambda: rests.pop(0) if rests else 0.0)
    made = worker(attempts, find=lambda listener, connection: handler)
    resumed(stored, made)
    wait_until(lambda: are_over(stored))
    assert rests == []
    assert stored.row(ref).status == DELIVERED
