"""Group commit: events that arrive together in a process are committed together, each is told of its own commit."""

import logging
import threading
import time
from asyncio import AbstractEventLoop
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from extension_kit.deliveries.outbox import Entry, Outbox
from extension_kit.errors import StoreError, StoreSilent
from extension_kit.events.event import Event
from extension_kit.events.registry import Listener
from extension_kit.observability import metrics

logger = logging.getLogger("extension_kit.deliveries")

Tell = Callable[[bool], None]

_STEP_STARTED = "experiment.execution.step-started"

_CHECK_INTERVAL = 2.0  # seconds without an event, after which it is seen whether the database can be written
_SLACK = 1.1  # times the time for a commit, so that the database itself can say first why it takes longer
_WATCHES = 10  # looks within the time for a commit, at how long it has taken
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
        timeout: seconds after which events are told that they are not stored, whatever their commit hangs in. Should
            it succeed later all the same, they are there, and known when they are sent again.
    """

    def __init__(self, outbox: Outbox, limit: int, group: int = 256, timeout: float = 5.0) -> None:
        self._outbox = outbox
        self._limit = limit
        self._group = group
        self._timeout = timeout
        self._waiting: deque[_Waiting] = deque()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._lock = threading.Lock()
        self._gathered = threading.Condition(self._lock)
        self._is_gathered = False
        self._is_free = False  # to begin with the first event that comes
        self._loop: _Loop | None = None
        self._works = True
        self._said = ""  # why it does not
        self._is_silent = False  # the database: events are refused without asking it, until a look has an answer
        self._taken: Sequence[_Waiting] = ()  # by the commit under way
        self._since: float | None = None  # the commit or look under way has begun
        self.notice: Callable[[bool], None] = lambda works: None
        """Told whenever it turns out that the database can, or cannot, be written."""

    def record(
        self, event: Event, listeners: Sequence[Listener], tell: Tell, known: Callable[[], None] = lambda: None
    ) -> bool:
        """Commit an event, and tell later whether that succeeded: in the loop's thread, else in another one.

        Before that, ``known`` is called where nothing was to be delivered of the events that were committed with it:
        the listeners had got all of them before.

        Returns:
            Whether ``tell`` will be called, or has been; False where too many wait already, or after ``close``.
        """
        waiting = _Waiting(entry_of(event, listeners), tell, known)
        is_free = False
        with self._lock:
            if self._closed or len(self._waiting) >= self._limit:
                return False
            if not (is_silent := self._is_silent):
                self._waiting.append(waiting)
                self._start()
                is_free, self._is_free = self._is_free, False
        if is_silent:
            tell(False)
        elif is_free:
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
            threading.Thread(target=self._watch, args=(self._thread,), name="commit-watch", daemon=True).start()

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

    def _watch(self, thread: threading.Thread) -> None:
        """Tell those whose commit takes too long: the thread that makes it may hang where nothing can reach it."""
        while thread.is_alive():
            thread.join(self._timeout / _WATCHES)
            since = self._since
            if since is not None and not self._is_silent and time.monotonic() - since > _SLACK * self._timeout:
                self._fall_silent(f"The database {self._outbox.database_name} has not answered for {self._timeout:g} s")

    def _fall_silent(self, why: str) -> None:
        """Refuse all events that wait, and those that come, without asking the database."""
        with self._lock:
            is_known, self._is_silent = self._is_silent, True
            refused = [*self._taken, *self._waiting]
            self._taken = ()
            self._waiting.clear()
        if not is_known:
            self._complain(len(refused), why)
        self._call_in_loop(_tell, refused, False)
        self._note(False, is_silent=True)

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
        self._since = time.monotonic()
        try:
            self._outbox.check_writable()
        except StoreSilent as error:
            self._fall_silent(str(error))
        except StoreError as error:
            self._complain(0, str(error))
            self._note(False)
        except BaseException:
            self._note(False)
            raise
        else:
            self._note(True)
        finally:
            self._since = None

    def _commit(self, group: Sequence[_Waiting]) -> None:
        started = time.perf_counter()
        with self._lock:
            self._taken, self._since = group, time.monotonic()
        stored = False
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
        except StoreSilent as error:
            self._fall_silent(str(error))
            return
        except StoreError as error:
            self._complain(len(group), str(error))
        except Exception:
            # Whatever it is, the senders must hear that nothing was stored, and the next group gets its chance.
            logger.exception("%d events not stored", len(group))
        finally:
            with self._lock:
                taken, self._taken, self._since = self._taken, (), None
        self._call_in_loop(_tell, taken, stored)
        self._note(stored)

    def _complain(self, number: int, why: str) -> None:
        """Say why the database cannot be written, and once only, until it can be or there is another reason."""
        if self._works or why != self._said:
            self._said = why
            logger.error("%s: %s", f"{number} events not stored" if number else "Events cannot be stored", why)

    def _note(self, works: bool, *, is_silent: bool = False) -> None:
        """Note how asking the database has ended."""
        with self._lock:
            is_news = works != self._works
            self._works, self._is_silent = works, is_silent
        if is_news:
            if works:
                logger.info("Events are stored again")
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
