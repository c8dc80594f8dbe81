"""Group commit: events that arrive together in a process are committed in one transaction."""

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

_CHECK_INTERVAL = 2.0  # seconds without an event, after which writing to the database is tried
_SLACK = 1.1  # times the commit timeout, so that the database can report an error of its own first
_WATCHES = 10  # checks of the running commit within its timeout
_LONGEST_GATHERING = 0.002  # seconds an event waits for others before its commit begins


class _Waiting(NamedTuple):
    entry: Entry
    tell: Tell
    known: Callable[[], None]


class _Loop(NamedTuple):
    loop: AbstractEventLoop
    thread: int


class GroupCommit:
    """One thread that commits the events that arrived during the commit before.

    A commit waits for the disk; one commit for many events makes accepting them cheap, and SQLite works best with one
    writer a process.

    Args:
        outbox: commits entries.
        limit: maximum number of events waiting for their commit.
        group: maximum number of events in one commit.
        timeout: seconds after which waiting events are reported as not stored, even if their commit still hangs. If
            it succeeds later, they are stored, and known as duplicates when they are sent again.
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
        self._is_free = False  # True: the first event to arrive begins the gathering
        self._loop: _Loop | None = None
        self._works = True
        self._said = ""  # the last reason logged
        self._is_silent = False  # the database: events are refused at once, until a check is answered
        self._taken: Sequence[_Waiting] = ()  # by the running commit
        self._since: float | None = None  # start of the running commit or check
        self.notice: Callable[[bool], None] = lambda works: None
        """Called with True or False whenever the database becomes writable or stops being so."""

    def record(
        self, event: Event, listeners: Sequence[Listener], tell: Tell, known: Callable[[], None] = lambda: None
    ) -> bool:
        """Queue an event for its commit. ``tell`` is called with True if it was stored, False if not.

        ``tell`` runs in the loop's thread, without a loop in another one. Before it, ``known`` is called if the commit
        added no delivery: all its events had been recorded for these listeners before.

        Returns:
            True if ``tell`` will be called, or has been; False if too many events wait, or after ``close``.
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
        """Work for an event loop. Call it in the loop's thread.

        A commit begins when the loop brings no more events for a moment, and the loop is woken once for all events of a
        commit: so the commit thread and the loop compete as little as possible for Python's lock.
        """
        self._loop = _Loop(loop, threading.get_ident())

    def start(self) -> None:
        """Start the thread that commits and checks the database, before the first event.

        Call it after a fork: threads do not survive it.
        """
        with self._lock:
            self._start()

    def _start(self) -> None:
        if self._thread is None and not self._closed:
            self._thread = threading.Thread(target=self._work, name="group-commit", daemon=True)
            self._thread.start()
            threading.Thread(target=self._watch, args=(self._thread,), name="commit-watch", daemon=True).start()

    def close(self, timeout: float) -> None:
        """Take no more events, commit the waiting ones and stop, within ``timeout`` seconds."""
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
                # Without this thread no event would be answered any more.
                logger.exception("Commit thread failed, continuing")

    def _watch(self, thread: threading.Thread) -> None:
        """Refuse the events of a commit that takes too long: the commit thread itself may hang, and cannot do it."""
        while thread.is_alive():
            thread.join(self._timeout / _WATCHES)
            since = self._since
            if since is not None and not self._is_silent and time.monotonic() - since > _SLACK * self._timeout:
                self._fall_silent(f"The database {self._outbox.database_name} has not answered for {self._timeout:g} s")

    def _fall_silent(self, why: str) -> None:
        """Refuse waiting and new events without asking the database."""
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
        """Wait for events and return them; an empty list if none arrives for a while, None after ``close``."""
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
        """Begin the commit as soon as the loop brings no more events."""
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
            except RuntimeError:  # the loop was closed
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
            if not self._works:  # it may answer again, and still not be writable
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
            # Whatever it is, the senders must learn that nothing was stored, and the next group is tried.
            logger.exception("%d events not stored", len(group))
        finally:
            with self._lock:
                taken, self._taken, self._since = self._taken, (), None
        self._call_in_loop(_tell, taken, stored)
        self._note(stored)

    def _complain(self, number: int, why: str) -> None:
        """Log why events cannot be stored: once, until they can be or the reason changes."""
        if self._works or why != self._said:
            self._said = why
            logger.error("%s: %s", f"{number} events not stored" if number else "Events cannot be stored", why)

    def _note(self, works: bool, *, is_silent: bool = False) -> None:
        """Record that a commit or a check has succeeded or failed."""
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
            logger.exception("Event %s, but its request had gone", "stored" if stored else "not stored")


def entry_of(event: Event, listeners: Sequence[Listener]) -> Entry:
    step = event.experiment_step_execution if event.name == _STEP_STARTED else None
    return Entry.of(event, listeners, step=step.id if step else None)
