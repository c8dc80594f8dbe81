"""The event loop of async functions."""

import asyncio
import os
import threading

import pytest

from extension_kit import Event, Extension, GiveUp
from extension_kit.events.function_loop import FUNCTION_LOOP, Call
from extension_kit.events.readable_state import ExtensionState
from extension_kit.testing.state import InMemoryState
from tests.support.waiting import wait_until
from tests.support.workers import TIMEOUT


def run(coroutine):
    return FUNCTION_LOOP.run(Call("oncall"), coroutine)


async def loop_and_thread():
    return asyncio.get_running_loop(), threading.current_thread().name


def test_all_functions_run_on_one_loop_in_one_thread():
    assert run(loop_and_thread()) == run(loop_and_thread())
    assert run(loop_and_thread())[1] == "function-loop"


@pytest.mark.parametrize("error", [ValueError("no"), GiveUp("no"), SystemExit(1), KeyboardInterrupt()])
def test_errors_are_the_callers_and_the_loop_goes_on(error):
    async def fail():
        raise error

    with pytest.raises(type(error)):
        run(fail())
    assert run(loop_and_thread())[1] == "function-loop"


def test_a_task_of_a_function_that_ends_the_loop_does_not():
    async def leave():
        raise SystemExit(1)

    async def begin():
        task = asyncio.create_task(leave())
        await asyncio.wait({task})
        return isinstance(task.exception(), SystemExit)

    assert run(begin())


def test_blocking_calls_run_in_threads_that_do_not_keep_the_process_alive():
    async def call():
        return await asyncio.to_thread(threading.current_thread)

    thread = run(call())
    assert thread.daemon
    assert thread.name.startswith("listener-")


def test_errors_of_threads_are_raised():
    async def call():
        await asyncio.to_thread(int, "no number")

    with pytest.raises(ValueError, match="no number"):
        run(call())


def test_a_callback_that_blocks_the_loop_is_found_too(caplog):
    go = threading.Event()
    FUNCTION_LOOP.start().call_soon_threadsafe(go.wait, TIMEOUT)
    before = FUNCTION_LOOP.seconds_blocked
    wait_until(lambda: "A callback blocks the event loop" in caplog.text)
    wait_until(lambda: FUNCTION_LOOP.seconds_blocked > before)
    go.set()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_child_process_has_a_loop_of_its_own():
    run(loop_and_thread())
    if (child := os.fork()) == 0:
        os._exit(0 if run(loop_and_thread())[1] == "function-loop" else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


class Desk:
    async def __call__(self, event):
        self.event = event

    async def ring(self):
        self.event = None


def test_async_functions_of_any_form_are_listeners():
    extension = Extension("extension-test")
    desk, event = Desk(), Event.from_body({"id": "1", "eventName": "a"})
    extension.listen_to("*", name="desk")(desk)
    extension.listen_to("*", name="ring")(desk.ring)
    first, second = extension.listeners
    assert first.is_async
    assert second.is_async
    first.call(event)
    assert desk.event is event
    second.call(event)
    assert desk.event is None


def test_an_async_function_that_returns_unfinished_work_has_failed():
    async def outer(event):
        return loop_and_thread()

    extension = Extension("extension-test")
    extension.listen_to("*")(outer)
    with pytest.raises(TypeError, match="outer returned an awaitable"):
        extension.listeners[0].call(Event.from_body({"id": "1", "eventName": "a"}))


def test_reading_the_state_waits_for_no_other_call_in_a_thread():
    go, state = threading.Event(), ExtensionState()
    state.bind(InMemoryState())

    async def read():
        others = [asyncio.create_task(asyncio.to_thread(go.wait, TIMEOUT)) for _ in range(100)]
        await asyncio.sleep(0)
        found = await state.aget("key", "default")
        went = go.is_set()
        go.set()
        await asyncio.gather(*others)
        return found, went

    assert run(read()) == ("default", False)


def test_calls_that_are_left_behind_in_threads_are_told():
    go, left = threading.Event(), []

    async def leave(number):
        calls = [asyncio.create_task(asyncio.to_thread(go.wait, TIMEOUT)) for _ in range(number)]
        await asyncio.wait(calls, timeout=0.2)
        for call in calls:
            call.cancel()
        await asyncio.wait(calls)

    call = Call("oncall", on_left=lambda run, are_many: left.append((run, are_many)))
    FUNCTION_LOOP.run(call, leave(16))
    try:
        assert [are_many for _, are_many in left] == [False] * 15 + [True]
        assert all(run.is_alive() for run, _ in left)
    finally:
        go.set()
    wait_until(lambda: not any(run.is_alive() for run, _ in left))
