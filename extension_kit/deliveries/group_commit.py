"""Group commit: items that arrive together in a process, such as events, are committed in one transaction."""

import logging
import threading
import time
from asyncio import AbstractEventLoop
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple

from extension_kit.deliveries.gathering import Gathering
from extension_kit.deliveries.group_writer import Item, Result, Writer
from extension_kit.deliveries.loop_calls import LoopCalls
from extension_kit.errors import StoreError, StoreSilent, StoreUnavailable

logger = logging.getLogger("extension_kit.deliveries")

_CHECK_INTERVAL = 2.0  # seconds without an item, after which writing to the database is tried
_SLACK = 1.1  # times the commit timeout, so that the database can report an error of its own first
_WATCHES = 10  # checks of the running commit within its timeout


class _Waiting(NamedTuple):
    item: Any
    tell: Callable[[Any], None]


class GroupCommit(Generic[Item, Result]):
    """One thread that commits the items that arrived during the commit before.

    A commit waits for the disk; one commit for many items makes accepting them cheap, and SQLite works best with one
    writer a process. A group that fails although the database works is committed again one by one, so that an item
    that cannot be written harms no other.

    Args:
        writer: commits items.
        limit: maximum number of items waiting for their commit.
        group: maximum number of items in one commit.
        timeout: seconds after which waiting items are reported as not stored, even if their commit still hangs. If
            it succeeds later, they are stored.
        check_interval: seconds without an item, after which writing to the database is tried.
        checks_always: False tries it only if the last commit or check has failed.
    """

    def __init__(
        self,
        writer: Writer[Item, Result],
        limit: int,
        group: int = 256,
        timeout: float = 5.0,
        check_interval: float = _CHECK_INTERVAL,
        *,
        checks_always: bool = True,
    ) -> None:
        self._writer = writer
        self._limit = limit
        self._group = group
        self._timeout = timeout
        self._check_interval = check_interval
        self._checks_always = checks_always
        self._waiting: deque[_Waiting] = deque()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._lock = threading.Lock()
        self._loop = LoopCalls()
        self._gathering = Gathering(self._lock, self._waiting.__len__, group, self._loop)
        self._said = ""  # the last reason logged
        self._silence: StoreSilent | None = (
            None  # of the database: items are refused at once, until a check is answered
        )
        self._taken: Sequence[_Waiting] = ()  # by the running commit
        self._since: float | None = None  # start of the running commit or check
        self.works = True
        """False if the last commit or check has failed."""
        self.on_writable_change: Callable[[bool], None] = lambda works: None
        """Called with True or False whenever the database becomes writable or stops being so."""

    def add(self, item: Item, tell: Callable[[Result | Exception], None]) -> bool:
        """Queue an item for its commit. ``tell`` is called with its result, or with the reason if it was not stored.

        ``tell`` runs in the loop's thread, without a loop in another one.

        Returns:
            True if ``tell`` will be called, or has been; False if too many items wait, or after ``close``.
        """
        begins = False
        with self._lock:
            if self._closed or len(self._waiting) >= self._limit:
                return False
            if (silence := self._silence) is None:
                self._waiting.append(_Waiting(item, tell))
                self._start()
                begins = self._gathering.arrive()
        if silence is not None:
            tell(silence)
        elif begins:
            self._gathering.begin()
        return True

    def attach_loop(self, loop: AbstractEventLoop) -> None:
        """Work for an event loop. Call it in the loop's thread.

        A commit begins when the loop brings no more items for a moment, and the loop is woken once for all items of a
        commit: so the commit thread and the loop compete as little as possible for Python's lock.
        """
        self._loop.attach(loop)

    def start(self) -> None:
        """Start the thread that commits and checks the database, before the first item.

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
        """Take no more items, commit the waiting ones and stop, within ``timeout`` seconds."""
        with self._lock:
            self._closed = True
            self._gathering.close()
        if self._thread is not None:
            self._thread.join(timeout)

    def _work(self) -> None:
        while (group := self._next_group()) is not None:
            try:
                if group:
                    self._commit(group)
                elif self._checks_always or not self.works:
                    self._check_writable()
            except Exception:
                # Without this thread no item would be answered any more.
                logger.exception("Commit thread failed, continuing")

    def _watch(self, thread: threading.Thread) -> None:
        """Refuse the items of a commit that takes too long: the commit thread itself may hang, and cannot do it."""
        while thread.is_alive():
            thread.join(self._timeout / _WATCHES)
            since = self._since
            if since is not None and self._silence is None and time.monotonic() - since > _SLACK * self._timeout:
                name = self._writer.database_name
                self._fall_silent(StoreSilent(f"The database {name} has not answered for {self._timeout:g} s"))

    def _fall_silent(self, silence: StoreSilent) -> None:
        """Refuse waiting and new items without asking the database."""
        with self._lock:
            is_known, self._silence = self._silence is not None, silence
            refused = [*self._taken, *self._waiting]
            self._taken = ()
            self._waiting.clear()
        if not is_known:
            self._complain(len(refused), silence)
        self._loop.call(_tell, refused, [silence] * len(refused))
        self._note(False, silence)

    def _next_group(self) -> list[_Waiting] | None:
        """Wait for items and return them; an empty list if none arrives for a while, None after ``close``."""
        self._gathering.wait(self._check_interval)
        with self._lock:
            if self._closed and not self._waiting:
                return None
            return [self._waiting.popleft() for _ in range(min(len(self._waiting), self._group))]

    def _check_writable(self) -> None:
        self._take(())
        try:
            self._writer.check_writable()
        except StoreError as error:
            self._refuse(error)
        except BaseException:
            self._note(False)
            raise
        else:
            self._note(True)
        finally:
            self._since = None

    def _commit(self, group: Sequence[_Waiting]) -> None:
        self._take(group)
        size = len(group)
        try:
            if not self.works:  # it may answer again, and still not be writable
                self._writer.check_writable()
        except Exception as error:
            self._refuse(error)
            return
        while group:
            portion = group[:size]
            self._take(group)
            try:
                results: Sequence[Any] = self._writer.commit([waiting.item for waiting in portion])
            except StoreUnavailable as error:
                self._refuse(error)
                return
            except Exception as error:
                if size > 1:
                    size = 1
                    continue
                results = [error]
                if isinstance(error, StoreError):
                    self._complain(1, error)
                    self._note(False)
            else:
                self._note(True)
            if not self._end(portion, results):
                return
            group = group[size:]

    def _take(self, group: Sequence[_Waiting]) -> None:
        with self._lock:
            self._taken, self._since = group, time.monotonic()

    def _end(self, portion: Sequence[_Waiting], results: Sequence[Any]) -> bool:
        """Tell the results of items. Return False if all items were refused meanwhile, because it took too long."""
        with self._lock:
            is_refused = not self._taken
            self._taken, self._since = self._taken[len(portion) :], None
        if not is_refused:
            self._loop.call(_tell, portion, results)
        return not is_refused

    def _refuse(self, error: Exception) -> None:
        """Refuse the items of the running commit."""
        if isinstance(error, StoreSilent):
            self._fall_silent(error)
            return
        if isinstance(error, StoreError):
            self._complain(len(self._taken), error)
        self._end(self._taken, [error] * len(self._taken))
        self._note(False)

    def _complain(self, number: int, why: StoreError) -> None:
        """Log why items cannot be stored: once, until they can be or the reason changes."""
        if self.works or str(why) != self._said:
            self._said = str(why)
            logger.error("%s: %s", f"{number} events not stored" if number else "Events cannot be stored", why)

    def _note(self, works: bool, silence: StoreSilent | None = None) -> None:
        """Record that a commit or a check has succeeded or failed."""
        with self._lock:
            is_news = works != self.works
            self.works, self._silence = works, silence
        if is_news:
            if works:
                logger.info("Events are stored again")
            self.on_writable_change(works)


def _tell(group: Sequence[_Waiting], results: Sequence[Any]) -> None:
    for waiting, result in zip(group, results, strict=True):
        try:
            waiting.tell(result)
        except Exception:
            stored = "not stored" if isinstance(result, Exception) else "stored"
            logger.exception("Event %s, but its request had gone", stored)
