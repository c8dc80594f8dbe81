"""Group commit: events that arrive together in a process are committed together, each is told of its own commit."""

import logging
import threading
import time
from asyncio import AbstractEventLoop
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from extension_kit import metrics
from extension_kit.deliveries.outbox import Entry, Outbox
from extension_kit.errors import StoreError
from extension_kit.events.event import Event
from extension_kit.events.registry import Listener

logger = logging.getLogger("extension_kit.deliveries")

Tell = Callable[[bool], None]

_STEP_STARTED = "experiment.execution.step-started"

_CHECK_INTERVAL = 2.0  # seconds without an event, after which it is seen whether the database can be written
_LONGEST_GATHERING = 0.002  # seconds for which an event waits for others before its commit begins


class _Waiting(NamedTuple):
    entry: Entry
    tell: Tell
    known: Callable[[], None]


class _Loop(NamedTuple):
    loop: AbstractEventLoop
    thread: int


class GroupCommit:
    """One thread that commits what has come in while the commit before was under way.

    A commit waits for the disk; doing it once for many events is what makes accepting them cheap, and one writer a
    process is what SQLite likes.

    Args:
        outbox: commits entries.
        limit: how many events may wait for their commit.
        group: how many are committed together at most.
    """

    def __init__(self, outbox: Outbox, limit: int, group: int = 256) -> None:
        self._outbox = outbox
        self._limit = limit
        self._group = group
        self._waiting: deque[_Waiting] = deque()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._lock = threading.Lock()
        self._gathered = threading.Condition(self._lock)
        self._is_gathered = False
        self._is_free = False  # to begin with the first event that comes
        self._loop: _Loop | None = None
        self._works = True
        self.notice: Callable[[bool], None] = lambda works: None
        """Told whenever it turns out that the database can, or cannot, be written."""

    def record(
        self, event: Event, listeners: Sequence[Listener], tell: Tell, known: Callable[[], None] = lambda: None
    ) -> bool:
        """Commit an event, and tell later whether that succeeded: in the loop's thread, else in another one.

        Before that, ``known`` is called where nothing was to be delivered of the events that were committed with it:
        the listeners had got all of them before.

        Returns:
            Whether ``tell`` will be called; False where too many wait already, or after ``close``.
        """
        waiting = _Waiting(entry_of(event, listeners), tell, known)
        with self._lock:
            if self._closed or len(self._waiting) >= self._limit:
                return False
            self._waiting.append(waiting)
            self._start()
            is_free, self._is_free = self._is_free, False
        if is_free:
            self._begin_gathering()
        return True

    def serve(self, loop: AbstractEventLoop) -> None:
        """Work for an event loop; to be called in its thread.

        Events are committed when the loop has for a moment brought no more of them, and it is woken once to tell of all
        of a commit: the thread that commits and the loop then keep each other from Python's lock as little as can be.
        """
        self._loop = _Loop(loop, threading.get_ident())

    def start(self) -> None:
        """Begin to see whether the database can be written, before there is an event.

        Not before a process forks: its thread would not be there afterwards.
        """
        with self._lock:
            self._start()

    def _start(self) -> None:
        if self._thread is None and not self._closed:
            self._thread = threading.Thread(target=self._work, name="group-commit", daemon=True)
            self._thread.start()

    def close(self, timeout: float) -> None:
        """Take nothing more, commit what waits and stop, within ``timeout`` seconds."""
        with self._lock:
            self._closed = True
            self._gathered.notify()
        if self._thread is not None:
            self._thread.join(timeout)

    def _work(self) -> None:
        while (group := self._next_group()) is not None:
            try:
                if group:
                    self._commit(group)
                else:
                    self._look()
            except Exception:
                # Without this thread nothing would be answered any more.
                logger.exception("the thread that commits events goes on")

    def _next_group(self) -> list[_Waiting] | None:
        """Wait for events; return none where none has come for a while, and None after ``close``."""
        with self._lock:
            self._is_free = not self._waiting
        if not self._is_free:
            self._begin_gathering()
        with self._lock:
            if not self._is_gathered and not self._closed:
                self._gathered.wait(_CHECK_INTERVAL)
            self._is_gathered = self._is_free = False
            if self._closed and not self._waiting:
                return None
            return [self._waiting.popleft() for _ in range(min(len(self._waiting), self._group))]

    def _begin_gathering(self) -> None:
        self._gather(0, time.monotonic() + _LONGEST_GATHERING)

    def _gather(self, seen: int, until: float) -> None:
        """Have the commit begin as soon as the loop brings no more events."""
        with self._lock:
            waiting = len(self._waiting)
            if not seen < waiting < self._group or self._closed or time.monotonic() > until or self._loop is None:
                self._is_gathered = True
                self._gathered.notify()
                return
        self._call_in_loop(self._gather, waiting, until)

    def _call_in_loop(self, function: Callable[..., None], *arguments: object) -> None:
        if self._loop is not None:
            loop, thread = self._loop
            try:
                if threading.get_ident() == thread:
                    loop.call_soon(function, *arguments)
                else:
                    loop.call_soon_threadsafe(function, *arguments)
            except RuntimeError:  # it has been closed
                self._loop = None
            else:
                return
        function(*arguments)

    def _look(self) -> None:
        try:
            self._outbox.check_writable()
        except StoreError as error:
            if self._works:
                logger.error("Events cannot be stored: %s", error)  # noqa: TRY400 (one line, the cause is in it)
            self._note(False)
        else:
            self._note(True)

    def _commit(self, group: Sequence[_Waiting]) -> None:
        started = time.perf_counter()
        try:
            if not self._works:  # it may be there, and still not be fit for use
                self._outbox.check_writable()
            added = self._outbox.record([waiting.entry for waiting in group])
            metrics.committed(len(group), time.perf_counter() - started)
            stored = True
            if added == 0:
                for waiting in group:
                    if waiting.entry.listeners:
                        waiting.known()
        except StoreError as error:
            logger.error("%d events not stored: %s", len(group), error)  # noqa: TRY400 (one line, the cause is in it)
            stored = False
        except Exception:
            # Whatever it is, the senders must hear that nothing was stored, and the next group gets its chance.
            logger.exception("%d events not stored", len(group))
            stored = False
        self._call_in_loop(_tell, group, stored)
        self._note(stored)

    def _note(self, works: bool) -> None:
        if works != self._works:
            self._works = works
            self.notice(works)


def _tell(group: Sequence[_Waiting], stored: bool) -> None:
    for waiting in group:
        try:
            waiting.tell(stored)
        except Exception:
            logger.exception("an event was %s, and nobody could be told", "stored" if stored else "not stored")


def entry_of(event: Event, listeners: Sequence[Listener]) -> Entry:
    step = event.experiment_step_execution if event.name == _STEP_STARTED else None
    return Entry.of(event, listeners, step=step.id if step else None)
