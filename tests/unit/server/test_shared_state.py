"""Processes write, others read: what the arbiter knows of the web processes it has forked."""

import os
import signal

import pytest

from extension_kit.deliveries.due import MOST_LISTENERS
from extension_kit.observability.metrics_page import Backlog, Due, Room
from extension_kit.server import shared_state
from extension_kit.server.shared_state import SharedState
from tests.support.waiting import wait_until


@pytest.fixture
def shared():
    shared = SharedState()
    shared.has_durable_listeners = True
    return shared


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 1000.0

    monkeypatch.setattr(shared_state.time, "monotonic", lambda: Clock.now)
    return Clock


@pytest.fixture
def fork():
    """Fork web processes, which are killed at the end."""
    forked = []

    def fork(work):
        pid = os.fork()
        if pid == 0:
            try:
                work()
                signal.pause()
            finally:
                os._exit(1)
        forked.append(pid)
        return pid

    yield fork
    for pid in forked:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


class TestReadiness:
    def test_one_web_process_is_enough(self, shared):
        assert not shared.is_ready()
        shared.set_ready(0, True)
        shared.set_ready(3, True)
        shared.set_ready(0, False)
        assert shared.is_ready()
        shared.set_ready(3, False)
        assert not shared.is_ready()
        assert shared.has_served

    def test_none_while_the_server_drains(self, shared):
        shared.set_ready(0, True)
        shared.draining = True
        assert not shared.is_ready()

    def test_a_slot_beyond_all_is_no_other_field(self, shared):
        shared.set_ready(shared_state._SLOTS, False)
        assert shared.has_durable_listeners

    def test_an_outage_is_said_once_by_whichever_process_comes_first(self, shared, fork):
        fork(shared.is_first_failure)
        wait_until(lambda: not shared.is_first_failure())
        shared.set_ready(0, True)
        assert shared.is_first_failure()


class TestTheBacklog:
    def test_nothing_is_known_at_first(self, shared):
        assert shared.backlog() is None

    def test_a_forked_process_writes_it(self, shared, fork):
        fork(lambda: shared.keep_backlog_fresh(lambda: Backlog(7, 1.0)))
        found = wait_until(shared.backlog)
        assert found.waiting == 7
        assert 1.0 <= found.oldest < 30

    def test_it_is_written_again_and_again(self, shared, fork, monkeypatch):
        monkeypatch.setattr(shared_state, "_INTERVAL", 0.01)
        monkeypatch.setattr(shared_state, "_MAX_LOAD", 1000)
        numbers = iter(range(10**9))
        fork(lambda: shared.keep_backlog_fresh(lambda: Backlog(next(numbers), 0.0)))
        wait_until(lambda: (found := shared.backlog()) and found.waiting > 3)

    def test_when_the_process_that_wrote_is_killed_another_goes_on(self, shared, fork, monkeypatch):
        monkeypatch.setattr(shared_state, "_INTERVAL", 0.01)
        first = fork(lambda: shared.keep_backlog_fresh(lambda: Backlog(1, 0.0)))
        wait_until(lambda: shared.backlog() and shared.backlog().waiting == 1)
        os.kill(first, signal.SIGKILL)
        os.waitid(os.P_PID, first, os.WEXITED | os.WNOWAIT)
        fork(lambda: shared.keep_backlog_fresh(lambda: Backlog(2, 0.0)))
        wait_until(lambda: shared.backlog().waiting == 2)

    def test_one_that_is_too_old_is_unknown(self, shared, clock):
        shared.refresh_backlog(lambda: Backlog(7, 1.0))
        clock.now += shared_state._MAX_AGE - 1
        assert shared.backlog() == Backlog(7, shared_state._MAX_AGE)  # the deliveries have waited meanwhile
        clock.now += 1
        assert shared.backlog() is None

    def test_all_of_it_is_kept(self, shared, clock):
        room = Room(2**40, 10**9, None)
        due = (Due("extension-ü.page", 7, 2.0), Due("other", 3, 0.0))
        shared.refresh_backlog(lambda: Backlog(7, 1.0, 2, 3.0, due, 4, 5, room))
        clock.now += 1
        older = (Due("extension-ü.page", 7, 3.0), Due("other", 3, 0.0))
        assert shared.backlog() == Backlog(7, 2.0, 2, 4.0, older, 4, 5, room)

    def test_as_many_long_keys_as_there_can_be_have_room(self, shared, clock):
        due = tuple(Due("\U0010ffff" * 255, 10_000, 0.0) for _ in range(MOST_LISTENERS + 2))
        shared.refresh_backlog(lambda: Backlog(7, 1.0, due=due))
        shared.set_reasons("no connection")
        assert shared.backlog().due == due
        assert shared.reasons() == ["no connection"]

    def test_where_nothing_waits_nothing_grows_old(self, shared, clock):
        shared.refresh_backlog(lambda: Backlog(0, 0.0))
        clock.now += 5
        assert shared.backlog() == Backlog(0, 0.0)

    def test_while_the_database_is_unavailable_the_last_one_grows_old(self, shared, clock):
        shared.refresh_backlog(lambda: Backlog(7, 1.0))
        clock.now += 10
        shared.refresh_backlog(lambda: None)
        assert shared.backlog() == Backlog(7, 11.0)
        clock.now += 20
        shared.refresh_backlog(lambda: None)
        assert shared.backlog() is None
        shared.refresh_backlog(lambda: Backlog(8, 1.0))
        assert shared.backlog() == Backlog(8, 1.0)

    def test_several_processes_read_it_no_more_often_than_one(self, shared, clock):
        shared.refresh_backlog(lambda: Backlog(7, 1.0))
        clock.now += 2
        shared.refresh_backlog(lambda: pytest.fail("it is fresh enough"), 3)
        clock.now += 1
        shared.refresh_backlog(lambda: Backlog(8, 1.0), 3)
        assert shared.backlog() == Backlog(8, 1.0)

    def test_without_durable_listeners_it_is_unknown(self, shared):
        shared.refresh_backlog(lambda: Backlog(7, 1.0))
        shared.has_durable_listeners = False
        assert shared.backlog() is None

    def test_one_that_is_being_written_is_never_mixed_with_the_last(self, shared, fork):
        def write():
            while True:
                for number in (1, 2**40 + 1):
                    shared.refresh_backlog(lambda number=number: Backlog(number, float(number)))

        fork(write)
        wait_until(shared.backlog)
        for _ in range(20_000):
            if found := shared.backlog():
                assert abs(found.oldest - found.waiting) < 30

    def test_a_first_reading_is_there_before_the_process_is_ready(self, shared, fork):
        def load():
            shared.keep_backlog_fresh(lambda: Backlog(7, 1.0))
            os._exit(shared.backlog().waiting)

        assert os.waitid(os.P_PID, fork(load), os.WEXITED | os.WNOWAIT).si_status == 7


def test_reasons_of_the_worker(shared):
    assert shared.reasons() == []
    shared.set_reasons("extension-oncall: no connection\nextension-other: ü")
    assert shared.reasons() == ["extension-oncall: no connection", "extension-other: ü"]
    shared.set_reasons("x" * 10_000)
    assert [len(line) for line in shared.reasons()] == [4096]
    shared.has_durable_listeners = False
    assert shared.reasons() == []
    shared.has_durable_listeners = True
    shared.set_reasons("")
    assert shared.reasons() == []
