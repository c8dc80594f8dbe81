"""The state that a worker's deliveries change: seen by those behind them, and written with their ends."""

import threading

import pytest
from sqlalchemy import update

from extension_kit import Extension
from extension_kit.deliveries.function_handlers import function_handlers
from extension_kit.deliveries.queries import Filter
from extension_kit.deliveries.replay import replay
from extension_kit.deliveries.state import States, StoredState
from extension_kit.deliveries.tables import DEAD, DELIVERED, deliveries
from tests.support.scribes import are_over, worker
from tests.support.waiting import wait_until

__all__ = ["worker"]  # a fixture

EXTENSION = "extension-counts"
KEY = f"{EXTENSION}.count@/events/count"
BODY = b'{"eventName": "experiment.execution.created", "id": "7"}'


class Counting:
    """A worker's functions and their state; each counts the deliveries of its series."""

    def __init__(self, stored, worker):
        self._stored = stored
        self._worker = worker
        self.states = States(stored.database, 30)

    def start(self, function, *, retry=(0.01,) * 30, timeout=60.0, threads=4):
        """Start a worker that makes deliveries to a function."""
        extension = Extension(EXTENSION)
        extension.listen_to("*", name="count", path="/events/count", retry=retry, timeout=timeout)(function)
        find = function_handlers(extension.listeners, 60.0, None, make_state=self.states.make)
        return self._worker(None, find=find, quick=[KEY], threads=threads, unwritten_state=self.states.unwritten)

    def add(self, number, series="t/1"):
        return self._stored.add(*(f"{series}-{each}" for each in range(number)), listener=KEY, series=series, body=BODY)

    def wait(self):
        wait_until(lambda: are_over(self._stored))

    def value(self, key):
        return StoredState(self._stored.database, EXTENSION).find(key)

    def sums(self):
        return StoredState(self._stored.database, EXTENSION).sums("", 1000)


@pytest.fixture
def counting(stored, worker):
    return Counting(stored, worker)


def count(event):
    event.state.set("count", event.state.get("count", 0) + 1)


def test_every_delivery_sees_those_before_it(stored, counting):
    counting.add(300)
    made = counting.start(count)
    counting.wait()
    assert counting.value("count") == b"300"
    assert made.owner.transactions < 150  # many are written at once
    assert not counting.states.unwritten._by_series


def test_attempts_that_fail_leave_nothing(stored, counting):
    seen = []

    def fail_first(event):
        seen.append((event.attempt, event.state.get("count", 0), event.state.get("failed")))
        count(event)
        if event.attempt % 2:
            event.state.set("failed", True)
            raise ConnectionError("not now")

    counting.add(5)
    counting.start(fail_first)
    counting.wait()
    assert seen == [(attempt, before, None) for before in range(5) for attempt in (1, 2)]
    assert (counting.value("count"), counting.value("failed")) == (b"5", None)


def test_dead_letters_leave_nothing_until_they_are_replayed(stored, counting):
    recovered = threading.Event()

    def fail(event):
        count(event)
        if not recovered.is_set():
            raise ConnectionError("not now")

    (ref,) = counting.add(1)
    made = counting.start(fail, retry=(0.01,))
    wait_until(lambda: stored.row(ref).status == DEAD)
    assert counting.value("count") is None
    recovered.set()
    assert sum(replay(stored.database, Filter())) == 1
    made.scribe.wake()
    counting.wait()
    assert counting.value("count") == b"1"


def test_attempts_past_their_timeout_change_nothing(stored, counting):
    late, errors = threading.Event(), []

    def hang(event):
        count(event)
        if event.attempt == 1:
            assert late.wait(30)
            try:
                count(event)
            except RuntimeError as error:
                errors.append(str(error))

    refs = counting.add(2)
    counting.start(hang, timeout=0.2, threads=16)  # a hung attempt leaves others room
    wait_until(lambda: all((1, "failed") in stored.attempts(ref) for ref in refs))
    counting.wait()
    late.set()
    wait_until(lambda: len(errors) == 2)
    assert counting.value("count") == b"2"
    assert set(errors) == {"the attempt has ended: its state cannot be changed any more"}


def test_an_outage_keeps_changes(stored, counting):
    hold, began = threading.Event(), threading.Event()

    def wait_first(event):
        began.set()
        assert hold.wait(30)
        count(event)

    counting.add(20)
    made = counting.start(wait_first)
    assert began.wait(30)
    made.owner.is_down = True
    hold.set()
    wait_until(lambda: any(counting.states.unwritten._by_series.values()))
    assert counting.value("count") is None
    made.owner.is_down = False
    counting.wait()
    assert counting.value("count") == b"20"


def test_a_commit_without_an_answer_counts_once(stored, counting):
    counting.add(50)
    made = counting.start(count)
    made.owner.forgets = "SELECT count(*) FROM state"
    counting.wait()
    assert made.owner.forgets is None
    assert counting.value("count") == b"50"


def test_a_claim_that_others_took_over_leaves_nothing(stored, counting):
    hold, began = threading.Event(), threading.Event()

    def wait_first(event):
        if event.attempt == 1 and not hold.is_set():
            began.set()
            assert hold.wait(30)
        count(event)

    (ref,) = counting.add(1)
    counting.start(wait_first)
    assert began.wait(30)
    with stored.database.transaction() as connection:  # as another worker would
        ended = {"status": DELIVERED, "stage": None, "claimed_at": None}
        connection.execute(update(deliveries).where(deliveries.c.ref == ref).values(ended))
    hold.set()
    wait_until(lambda: not counting.states.unwritten._by_series)
    counting.add(1, series="t/2")
    counting.wait()
    assert counting.value("count") == b"1"  # of the other series


class TestSums:
    def test_no_addition_is_lost_between_series(self, stored, counting):
        def add(event):
            event.state.add("seconds", 0.5)
            event.state.add("events")

        for number in range(20):
            counting.add(10, series=f"t/{number}")
        counting.start(add, threads=8)
        counting.wait()
        assert counting.sums() == {"events": 200.0, "seconds": 100.0}

    def test_attempts_that_fail_add_nothing(self, stored, counting):
        def fail_first(event):
            event.state.add("attempts")
            if event.attempt % 2:
                raise ConnectionError("not now")

        counting.add(5)
        counting.start(fail_first)
        counting.wait()
        assert counting.sums() == {"attempts": 5.0}


def test_no_addition_keeps_a_worker_from_writing_those_of_others(stored, counting):
    numbers = iter([1.7e308, 1] * 3)

    def add(event):
        event.state.add("runs", next(numbers))

    counting.add(6)
    counting.start(add, retry=(), threads=1)
    wait_until(lambda: counting.sums() == {"runs": 3.0})
