"""Lanes of async functions: their order, their timeouts, and what becomes of functions that do not end."""

import asyncio
import queue
import threading
from contextvars import ContextVar
from datetime import UTC, datetime

import pytest

from extension_kit.deliveries.claims import Claim
from extension_kit.deliveries.handler import Due, Handler
from extension_kit.deliveries.hung_runs import HungRuns
from extension_kit.deliveries.readiness import Readiness
from extension_kit.deliveries.retry import RetrySchedule
from extension_kit.deliveries.tables import DEAD, DELIVERED, WAITING
from extension_kit.engine.async_lanes import AsyncLanes
from extension_kit.engine.lane import Job, Lane, Note
from extension_kit.events.function_loop import FUNCTION_LOOP
from extension_kit.senders import Outcome
from tests.support.waiting import wait_until
from tests.support.workers import TIMEOUT, failed

NOW = datetime.now(UTC)
DONE = Outcome("delivered")


def claim(ref, lock="oncall|t/1"):
    due = Due(ref, 1, 0, "oncall", NOW, "a.b", str(ref), b"{}", "steadybit", None, None, "t/1", ref)
    return Claim(due, lock, 0, NOW, 0, None, None)


def never(due):
    raise AssertionError("it is made on the event loop")


class Running:
    """Async lanes whose notes are kept, and an event of the loop that functions may wait for."""

    def __init__(self):
        self.notes = queue.SimpleQueue()
        self.may_begin = True
        self.renewed = threading.Event()
        self.hung_runs = HungRuns(2, self.renewed.set, apart=0.0)
        self.lanes = AsyncLanes(
            1, self.notes.put, lambda: self.may_begin, HungRuns(100, list), Readiness(), self.hung_runs
        )
        self.lanes.open()
        self.started = []
        self.go = asyncio.Event()

    def begin(self, make_async, *refs, timeout=60.0, schedule=(60.0,), **options):
        handler = Handler(never, RetrySchedule(schedule), timeout, make_async=make_async)
        lane = Lane([Job(claim(ref, **options), handler) for ref in refs])
        self.lanes.begin(lane)
        return lane

    async def wait(self, due):
        self.started.append(due.ref)
        await self.go.wait()
        return DONE

    def release(self):
        FUNCTION_LOOP.start().call_soon_threadsafe(self.go.set)

    def note(self):
        return self.notes.get(timeout=TIMEOUT)

    def ends(self, number):
        notes = [self.note() for _ in range(number)]
        return [(note.end.claim.due.ref, note.end.status) for note in notes]


@pytest.fixture
def running():
    made = Running()
    yield made
    made.release()
    made.lanes.close()


def test_a_lane_is_made_in_order_and_closes(running):
    ended = []

    async def make(due):
        await asyncio.sleep(0.01 if due.ref == 3 else 0)
        ended.append(due.ref)
        return DONE

    lane = running.begin(make, 3, 4, 5)
    assert running.ends(3) == [(3, DELIVERED), (4, DELIVERED), (5, DELIVERED)]
    assert running.note() == Note(lane, has_closed=True, busy=0)
    assert ended == [3, 4, 5]
    assert not running.lanes.extend(lane, [Job(claim(7), None)])


def test_many_lanes_need_no_thread_each(running):
    before = threading.active_count()
    for ref in range(500):
        running.begin(running.wait, ref, lock=None)
    wait_until(lambda: len(running.started) == 500)
    assert threading.active_count() <= before + 1
    running.release()
    ends = [note.end for note in (running.note() for _ in range(1000)) if note.end]
    assert {end.claim.due.ref for end in ends} == set(range(500))


@pytest.mark.parametrize(
    "error", [ValueError("a mistake"), asyncio.CancelledError(), SystemExit(1), KeyboardInterrupt()]
)
def test_whatever_a_function_raises_its_delivery_ends_and_the_loop_goes_on(running, error):
    async def fail(due):
        await asyncio.sleep(0)
        raise error

    running.begin(fail, 1, 2)
    note = running.note()
    assert (note.end.status, [each.due.ref for each in note.given_up]) == (WAITING, [2])
    assert type(error).__name__ in note.end.error
    assert running.note().has_closed
    running.release()
    running.begin(running.wait, 3)
    assert running.ends(1) == [(3, DELIVERED)]


def test_an_outcome_that_cannot_be_used_is_a_failure(running):
    async def make(due):
        return failed(float("nan"))

    running.begin(make, 1)
    assert running.ends(1) == [(1, WAITING)]


def test_at_its_timeout_a_function_is_cancelled_and_has_failed(running):
    seen = []

    async def make(due):
        try:
            await running.go.wait()
        finally:
            seen.append(due.ref)

    running.begin(make, 3, 4, timeout=0.05, schedule=())
    notes = [running.note(), running.note()]
    assert [(note.end.status, note.end.error) for note in notes] == [(DEAD, "did not return within 0.05 s")] * 2
    assert seen == [3, 4]
    assert not running.hung_runs.by_listener()


def test_what_does_not_let_itself_be_cancelled_is_left_behind_and_counted(running):
    async def stubborn(due):
        running.started.append(due.ref)
        while not running.go.is_set():
            try:
                await running.go.wait()
            except asyncio.CancelledError:
                continue
        return DONE

    for ref in (1, 2):
        running.begin(stubborn, ref, lock=None, timeout=0.05)
    notes = [running.note() for _ in range(4)]
    assert {note.end.error for note in notes if note.end} == {"did not return within 0.05 s"}
    assert running.hung_runs.by_listener() == {"oncall": 2}
    assert running.renewed.wait(TIMEOUT)
    running.release()
    wait_until(lambda: not running.hung_runs.by_listener())
    assert running.notes.empty()


def test_what_it_leaves_behind_in_a_thread_is_counted(running):
    go = threading.Event()

    async def make(due):
        await asyncio.to_thread(go.wait, TIMEOUT)
        return DONE

    running.begin(make, 1, timeout=0.05, schedule=())
    try:
        assert running.ends(1) == [(1, DEAD)]
        wait_until(lambda: running.hung_runs.by_listener() == {"oncall": 1})
    finally:
        go.set()
    wait_until(lambda: not running.hung_runs.by_listener())


def test_a_stopped_lane_ends_its_attempt_only(running):
    lane = running.begin(running.wait, 3, 4, 5)
    wait_until(lambda: running.started)
    assert [each.due.ref for each in running.lanes.stop(lane)] == [4, 5]
    running.release()
    assert running.ends(1) == [(3, DELIVERED)]
    assert running.note().has_closed


def test_what_is_handed_back_is_cancelled_and_does_not_count(running):
    seen = threading.Event()

    async def make(due):
        running.started.append(due.ref)
        try:
            await running.go.wait()
        finally:
            seen.set()

    lane = running.begin(make, 3)
    wait_until(lambda: running.started)
    running.lanes.stop(lane)
    running.lanes.hand_back(lane)
    end = running.note().end
    assert (end.attempt.result, end.counts, end.status) == ("handed back", False, WAITING)
    assert seen.wait(TIMEOUT)
    assert running.note() == Note(lane, has_closed=True, busy=0)


def test_close_cancels_what_runs(running):
    seen = threading.Event()

    async def make(due):
        running.started.append(due.ref)
        try:
            await running.go.wait()
        finally:
            seen.set()

    running.begin(make, 3)
    wait_until(lambda: running.started)
    running.lanes.close()
    assert seen.is_set()


def test_nothing_begins_while_others_may_own_the_claims(running):
    running.may_begin = False
    first, _ = running.begin(running.wait, 1, lock=None), running.begin(running.wait, 2, lock=None)
    assert [each.due.ref for each in running.lanes.stop(first)] == [1]
    assert running.note() == Note(first, has_closed=True)
    assert running.started == []
    running.may_begin = True
    running.release()
    assert running.ends(1) == [(2, DELIVERED)]


def test_what_is_behind_a_lost_delivery_is_given_up(running):
    lane = running.begin(running.wait, 3, 4, 5)
    wait_until(lambda: running.started)
    assert [each.due.ref for each in running.lanes.forget(lane, {3, 5})] == [4]
    running.release()
    assert running.ends(1) == [(3, DELIVERED)]
    assert running.note().has_closed


def test_each_attempt_has_a_context_of_its_own(running):
    variable = ContextVar("variable", default=None)
    found = []

    async def make(due):
        found.append(variable.get())
        variable.set(due.ref)
        return DONE

    running.begin(make, 3, 4)
    assert running.ends(2) == [(3, DELIVERED), (4, DELIVERED)]
    assert found == [None, None]


@pytest.mark.parametrize("in_child", [False, True])
def test_a_function_that_blocks_the_loop_past_its_timeout_has_failed_and_others_have_not(running, caplog, in_child):
    go = threading.Event()

    async def block():
        go.wait(TIMEOUT)

    async def make(due):
        await (asyncio.create_task(block()) if in_child else block())

    other = running.begin(running.wait, 1, lock=None, timeout=0.5)
    wait_until(lambda: running.started)
    blocking = running.begin(make, 2, lock=None, timeout=0.5)
    note = running.note()
    assert note.lane is blocking
    assert note.end.error == "did not return within 0.5 s, and blocked the event loop"
    assert running.renewed.wait(TIMEOUT)  # one is enough
    (warning,) = [record for record in caplog.records if "blocks the event loop" in record.getMessage()]
    assert warning.getMessage().startswith("oncall blocks")
    assert "asyncio.to_thread" in warning.getMessage()
    running.release()
    go.set()
    notes = [running.note() for _ in range(3)]
    assert [(note.lane, note.end.status) for note in notes if note.end] == [(other, DELIVERED)]
    wait_until(lambda: not running.hung_runs.by_listener())


def test_a_function_that_blocks_the_loop_for_less_than_its_timeout_is_delivered_with_a_warning(running, caplog):
    go = threading.Event()

    async def make(due):
        go.wait(TIMEOUT)
        return DONE

    running.begin(make, 1)
    wait_until(lambda: "oncall blocks the event loop" in caplog.text)
    go.set()
    assert running.ends(1) == [(1, DELIVERED)]
    assert not running.renewed.is_set()


def test_plain_lanes_run_on_threads(running):
    names = []

    def make(due):
        names.append(threading.current_thread().name)
        return DONE

    running.lanes.begin(Lane([Job(claim(1), Handler(make, RetrySchedule(), 60.0))]))
    assert running.ends(1) == [(1, DELIVERED)]
    assert names == ["delivery-0"]
