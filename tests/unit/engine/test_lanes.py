"""Lanes: the order in a lane, and what becomes of its deliveries when it closes early."""

import logging
import queue
import threading
from datetime import UTC, datetime

import pytest

from extension_kit.deliveries.claims import Claim
from extension_kit.deliveries.handler import Due, Handler
from extension_kit.deliveries.retry import RetrySchedule
from extension_kit.deliveries.tables import DEAD, DELIVERED, DISCARDED, WAITING
from extension_kit.engine.lane import Job, Lane, Note
from extension_kit.engine.lanes import Lanes
from extension_kit.senders import Outcome
from tests.support.waiting import wait_until
from tests.support.workers import TIMEOUT, Attempts, failed

NOW = datetime.now(UTC)
SCHEDULE = RetrySchedule((60.0,))


def claim(ref, lock="oncall|t/1", listener="oncall"):
    due = Due(ref, 1, 0, listener, NOW, "a.b", str(ref), b"{}", "steadybit", None, None, "t/1", ref)
    return Claim(due, lock, 0, NOW, 0, None, None)


class Running:
    """Lanes whose notes are kept."""

    def __init__(self, threads, hung_runs):
        self.notes = queue.SimpleQueue()
        self.may_begin = True
        self.lanes = Lanes(threads, self.notes.put, lambda: self.may_begin, hung_runs)
        self.lanes.open()

    def lane(self, make, *refs, timeout=60.0, **options):
        handler = Handler(make, SCHEDULE, timeout)
        return Lane([Job(claim(ref, **options), handler) for ref in refs])

    def note(self):
        return self.notes.get(timeout=TIMEOUT)

    def ends(self, number):
        """The next ends, as (number of the delivery, status)."""
        notes = [self.note() for _ in range(number)]
        return [(note.end.claim.due.ref, note.end.status) for note in notes]


@pytest.fixture
def running(hung_runs):
    """Lanes on two threads."""
    made = Running(2, hung_runs)
    yield made
    made.lanes.close()


def test_a_lane_is_made_in_order_and_closes(running):
    attempts = Attempts()
    lane = running.lane(attempts, 3, 4, 5)
    running.lanes.begin(lane)
    assert running.ends(3) == [(3, DELIVERED), (4, DELIVERED), (5, DELIVERED)]
    assert running.note() == Note(lane, has_closed=True, busy=0)
    assert attempts.ended == ["3", "4", "5"]
    assert lane.is_closed
    assert not lane.is_broken


def test_what_is_behind_a_failure_is_given_up(running):
    attempts = Attempts({"4": [failed(60)]})
    lane = running.lane(attempts, 3, 4, 5, 6)
    running.lanes.begin(lane)
    assert running.ends(1) == [(3, DELIVERED)]
    note = running.note()
    assert (note.end.claim.due.ref, note.end.status) == (4, WAITING)
    assert [each.due.ref for each in note.given_up] == [5, 6]
    assert running.note().has_closed
    assert attempts.started == ["3", "4"]
    assert lane.is_broken
    assert not running.lanes.extend(lane, [Job(claim(7), None)])


def test_what_is_behind_a_dead_letter_goes_on(running):
    lane = running.lane(Attempts({"3": [Outcome("refused", "never")]}), 3, 4)
    running.lanes.begin(lane)
    assert running.ends(2) == [(3, DEAD), (4, DELIVERED)]


def test_what_has_no_handler_is_discarded(running):
    running.lanes.begin(Lane([Job(claim(3), None), Job(claim(4), None)]))
    assert running.ends(2) == [(3, DISCARDED), (4, DISCARDED)]


@pytest.mark.parametrize("outcome", [ValueError("a mistake"), None, failed(float("nan")), SystemExit(1)])
def test_whatever_a_handler_does_its_delivery_ends_and_its_thread_goes_on(running, caplog, outcome):
    attempts = Attempts({str(ref): [outcome] for ref in (1, 2, 3)})
    for ref in (1, 2, 3):  # more than there are threads
        running.lanes.begin(running.lane(attempts, ref, lock=None))
    notes = [running.note() for _ in range(6)]
    assert [note.end.status for note in notes if note.end] == [WAITING] * 3
    running.lanes.begin(running.lane(Attempts(), 4))
    assert running.ends(1) == [(4, DELIVERED)]
    assert all(record.levelno == logging.ERROR for record in caplog.records)


def test_a_lane_gets_more_until_it_has_closed(running):
    hold = {"3": threading.Event()}
    lane = running.lane(Attempts(hold=hold), 3)
    running.lanes.begin(lane)
    more = running.lane(Attempts(), 4, 5).jobs
    assert running.lanes.extend(lane, more)
    assert lane.last_ref == 5
    hold["3"].set()
    assert running.ends(3) == [(3, DELIVERED), (4, DELIVERED), (5, DELIVERED)]
    assert running.note().has_closed
    assert not running.lanes.extend(lane, more)
    assert not lane.is_broken


def test_a_lane_begins_after_one_of_its_listener(running):
    hold = {"1": threading.Event()}
    attempts = Attempts(hold=hold)
    first, second, third = (running.lane(attempts, ref, lock=None) for ref in (1, 2, 3))
    running.lanes.begin(first)
    running.lanes.begin_after(second)
    running.lanes.begin_after(third)
    other = running.lane(attempts, 4, lock=None, listener="other")
    running.lanes.begin_after(other)  # nobody is before it
    assert running.note() == Note(other, has_begun=True)
    assert running.ends(1) == [(4, DELIVERED)]
    assert running.note().has_closed
    assert attempts.started == ["1", "4"] or attempts.started == ["4", "1"]
    hold["1"].set()
    seen = []
    for _ in range(8):
        note = running.note()
        what = "end" if note.end else "closed" if note.has_closed else "begun"
        seen.append((note.lane, what))
    assert seen == [
        (first, "end"), (first, "closed"), (second, "begun"), (second, "end"),
        (second, "closed"), (third, "begun"), (third, "end"), (third, "closed"),
    ]  # fmt: skip


def test_only_what_has_not_begun_is_taken_back(running):
    hold = {"1": threading.Event()}
    first, second, third = (running.lane(Attempts(hold=hold), ref, lock=None) for ref in (1, 2, 3))
    running.lanes.begin(first)
    for lane in (second, third):
        running.lanes.begin_after(lane)
    assert running.lanes.take_back(lambda lane: lane is third) == [third]
    assert running.lanes.take_back(lambda lane: True) == [second]
    assert running.lanes.take_back(lambda lane: True) == []
    assert second.is_closed
    assert third.is_closed
    hold["1"].set()
    assert running.ends(1) == [(1, DELIVERED)]
    assert running.note() == Note(first, has_closed=True, busy=0)


def test_a_stopped_lane_ends_its_attempt_only(running):
    hold = {"3": threading.Event()}
    attempts = Attempts(hold=hold)
    lane = running.lane(attempts, 3, 4, 5)
    running.lanes.begin(lane)
    wait_until(lambda: attempts.started)
    assert [each.due.ref for each in running.lanes.stop(lane)] == [4, 5]
    hold["3"].set()
    assert running.ends(1) == [(3, DELIVERED)]
    assert running.note().has_closed


def test_the_end_of_what_was_handed_back_does_not_count(running):
    hold = {"3": threading.Event()}
    attempts = Attempts(hold=hold)
    lane = running.lane(attempts, 3)
    running.lanes.begin(lane)
    wait_until(lambda: attempts.started)
    running.lanes.stop(lane)
    running.lanes.hand_back(lane)
    end = running.note().end
    assert (end.attempt.result, end.counts, end.status) == ("handed back", False, WAITING)
    running.lanes.hand_back(lane)  # nothing is in progress any more
    hold["3"].set()
    assert running.note() == Note(lane, has_closed=True, busy=0)


def test_what_is_behind_a_lost_delivery_is_given_up(running):
    hold = {"3": threading.Event()}
    attempts = Attempts(hold=hold)
    lane = running.lane(attempts, 3, 4, 5)
    running.lanes.begin(lane)
    wait_until(lambda: attempts.started)
    assert running.lanes.forget(lane, {6}) == []
    assert [each.due.ref for each in running.lanes.forget(lane, {3, 5})] == [4]
    hold["3"].set()
    assert running.ends(1) == [(3, DELIVERED)]  # it is not written, because its claim does not hold
    assert running.note().has_closed
    assert attempts.started == ["3"]


def test_nothing_begins_while_others_may_own_the_claims(running):
    running.may_begin = False
    attempts = Attempts()
    first, second = running.lane(attempts, 1, lock=None), running.lane(attempts, 2, lock=None)
    running.lanes.begin(first)
    running.lanes.begin(second)
    assert [each.due.ref for each in running.lanes.stop(first)] == [1]
    assert running.note() == Note(first, has_closed=True, busy=1)
    assert attempts.started == []
    running.may_begin = True
    assert running.ends(1) == [(2, DELIVERED)]


def test_what_does_not_return_fails_and_another_thread_takes_its_place(running, hung_runs):
    hold = {str(ref): threading.Event() for ref in (1, 2)}
    attempts = Attempts(hold=hold)
    lanes = [running.lane(attempts, ref, lock=None, timeout=0.05) for ref in (1, 2)]
    for lane in lanes:
        running.lanes.begin(lane)
    notes = [running.note() for _ in range(4)]
    assert sorted(note.end.claim.due.ref for note in notes if note.end) == [1, 2]
    assert {note.end.error for note in notes if note.end} == {"did not return within 0.05 s"}
    wait_until(lambda: hung_runs.by_listener() == {"oncall": 2})
    later = Attempts()
    running.lanes.begin(running.lane(later, 3, 4))  # both threads are held, and there are two others
    running.lanes.begin(running.lane(later, 5, lock=None))
    notes = [running.note() for _ in range(5)]
    assert sorted(note.end.claim.due.ref for note in notes if note.end) == [3, 4, 5]
    for event in hold.values():
        event.set()
    wait_until(lambda: not hung_runs.by_listener())
    assert running.notes.empty()


def test_what_is_behind_a_hung_dead_letter_goes_on(running):
    hold = {"3": threading.Event()}
    handler = Handler(Attempts(hold=hold), RetrySchedule(()), 0.05)
    running.lanes.begin(Lane([Job(claim(ref), handler) for ref in (3, 4)]))
    assert running.ends(2) == [(3, DEAD), (4, DELIVERED)]
    hold["3"].set()
