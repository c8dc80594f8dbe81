"""Function loop: the event loop on which a process runs async functions, in a thread of its own.

A process has one, for durable and immediate functions, so that they can share what belongs to a loop, such as an HTTP
client with its connections.
"""

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from functools import partial
from typing import Any, ParamSpec, Protocol, TypeVar

from extension_kit.events.function_pool import FunctionPool

logger = logging.getLogger("extension_kit.events")

T = TypeVar("T")
P = ParamSpec("P")

_LOOK = 0.25  # seconds between two looks at the loop
_LOOKS = 4  # that find the same task running until the loop counts as blocked
_THREADS, _STATE_THREADS = 32, 4  # of asyncio.to_thread, and of what reads the state
_WAITING = 10_000  # calls that wait for them


class Call:
    """A call of an async function.

    Args:
        name: the name of the function's listener.
        on_blocked: called in another thread again and again while the function blocks the loop.
        on_left: called with each call of ``asyncio.to_thread`` that the function has left behind, cancelled while the
            call goes on in its thread; and with True if such calls have taken half of the threads.
    """

    def __init__(
        self,
        name: str,
        on_blocked: Callable[[], None] | None = None,
        on_left: "Callable[[LeftCall, bool], None] | None" = None,
    ) -> None:
        self.name = name
        self.on_blocked = on_blocked
        self.on_left = on_left


class LeftCall(Protocol):
    """A call in a thread for which nobody waits."""

    def is_alive(self) -> bool:
        """Return True if it has not ended."""


_call: ContextVar[Call | None] = ContextVar("call", default=None)


class _Task(asyncio.Task[Any]):
    """A task that knows the call of which it is a part."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], **options: Any) -> None:
        self.call = _call.get()
        super().__init__(coroutine, **options)


class _InThread(Future[T]):
    """A call in a thread, which goes on there if its caller is cancelled."""

    def __init__(self, on_left: "Callable[[_InThread[T]], None]") -> None:
        super().__init__()
        self._on_left = on_left

    def cancel(self) -> bool:
        is_cancelled = super().cancel()
        if not is_cancelled and self.running():
            self._on_left(self)
        return is_cancelled

    def is_alive(self) -> bool:
        return not self.done()


class _Threads(ThreadPoolExecutor):
    """Threads for ``asyncio.to_thread`` that do not keep the process alive, as those of ``ThreadPoolExecutor`` do.

    Args:
        threads: their maximum number.
    """

    def __init__(self, threads: int) -> None:
        super().__init__(threads)  # which starts no thread before the first ``submit``
        self._pool = FunctionPool(threads, _WAITING)
        self._most_left = threads // 2
        self._left: list[_InThread[Any]] = []

    def submit(self, function: Callable[P, T], /, *args: P.args, **options: P.kwargs) -> Future[T]:
        future: Future[T] = _InThread(partial(self._leave, _call.get()))

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = function(*args, **options)
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)

        if not self._pool.submit(run):
            raise RuntimeError(f"more than {_WAITING} calls wait for a thread")
        return future

    def _leave(self, call: Call | None, future: _InThread[Any]) -> None:
        """Tell the call that has left another one behind, in the loop's thread."""
        self._left = [*filter(_InThread.is_alive, self._left), future]
        if call and call.on_left:
            call.on_left(future, len(self._left) >= self._most_left)


class FunctionLoop:
    """An event loop in a thread, which starts at the first use, and a thread that finds functions that block it.

    Attributes:
        state_threads: threads that read the state, so that no other call of a function holds that up.
    """

    def __init__(self) -> None:
        self.state_threads = _Threads(_STATE_THREADS)
        self._starting = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[_Task] = set()  # a loop holds no reference to a task that waits
        self._blocked = 0.0

    @property
    def seconds_blocked(self) -> float:
        """The seconds for which functions have blocked the loop so far, in all."""
        return self._blocked

    def start(self) -> asyncio.AbstractEventLoop:
        """Return the loop, which runs."""
        with self._starting:
            if self._loop is None:
                loop = asyncio.new_event_loop()
                loop.set_task_factory(lambda loop, coroutine, **options: _Task(coroutine, loop=loop, **options))
                loop.set_default_executor(_Threads(_THREADS))
                threading.Thread(target=_run, args=(loop,), name="function-loop", daemon=True).start()
                threading.Thread(target=self._watch, args=(loop,), name="function-loop-watch", daemon=True).start()
                self._loop = loop
            return self._loop

    def begin(self, call: Call, coroutine: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """Begin a call in a context of its own, a copy of the caller's, in the loop's thread."""
        context = copy_context()
        context.run(_call.set, call)
        task: _Task = context.run(_Task, coroutine, loop=self.start())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def run(self, call: Call, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a call to its end, from another thread; its exceptions are the caller's to handle."""

        async def in_task() -> T:
            return await self.begin(call, coroutine)

        return asyncio.run_coroutine_threadsafe(in_task(), self.start()).result()

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        while True:
            turned = threading.Event()
            loop.call_soon_threadsafe(turned.set)
            running: asyncio.Task[Any] | None = None
            looks = 0
            while not turned.wait(_LOOK):
                current = asyncio.current_task(loop)
                looks = looks + 1 if current is running else 0
                running = current
                if looks >= _LOOKS:
                    self._blocked += _LOOK
                    _tell(running, is_first=looks == _LOOKS)
            time.sleep(_LOOK)


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    while True:
        try:
            loop.run_forever()
        except BaseException:  # SystemExit in a task of a function
            logger.exception("Unhandled exception in the loop of async functions, continuing")


def _tell(task: asyncio.Task[Any] | None, *, is_first: bool) -> None:
    """Warn about a function that blocks the loop, and tell its call."""
    call = task.call if isinstance(task, _Task) else None
    if is_first:
        logger.warning(
            "%s blocks the event loop, so no other async function goes on: call what does not await in a thread, with "
            "await asyncio.to_thread(...)",
            call.name if call else "A callback",
        )
    if call and call.on_blocked:
        try:
            call.on_blocked()
        except Exception:
            logger.exception("Cannot end an attempt of %s", call.name)


FUNCTION_LOOP = FunctionLoop()
"""The loop of this process."""

os.register_at_fork(after_in_child=FUNCTION_LOOP.__init__)  # type: ignore[misc]  # its threads are not in the child
