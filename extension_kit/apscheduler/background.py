"""A bounded queue, and the thread that sends what is in it."""

import atexit
import logging
import math
import os
import random
import threading
import time
from collections import deque
from weakref import WeakSet

from extension_kit.apscheduler.connection import Connection
from extension_kit.apscheduler.trouble import Trouble
from extension_kit.senders import Outcome

logger = logging.getLogger("extension_kit.apscheduler")

_AWAY = {502, 503, 504}
_HINTS = dict.fromkeys((301, 302, 307, 308), "; redirects are not followed, the URL has to be the one they lead to") | {
    400: "; it finds no Authorization header, which a proxy may have removed, or nothing that it can store",
    401: "; compare the token with those that the server accepts",
    403: "; compare the token with those that the server accepts",
    404: "; the URL has to be that of CronEye's API, without /event",
}
_END_OF_THREAD = 1.0  # seconds


class BackgroundSender:
    """Sends events one after the other, in order, and keeps those that wait in memory.

    An event that the server does not take for now is tried again, after longer and longer waits, before any other is
    sent. Because an answer may be lost, an event may be sent twice.

    Args:
        connection: to the server; used by the thread only.
        queue_size: how many events wait at most; further ones are dropped.
        first_retry: seconds to the second attempt; each further wait is twice as long, and up to a half shorter by
            chance, so that services do not come back together.
        longest_retry: seconds of the longest wait, unless the server asks for a longer one.
        give_up_after: seconds after which an event is refused that the server fails to store (500): upstream does so
            with what it cannot read, and one such event must not hold up all others.
        exit_timeout: seconds for which the end of the process waits for events that are not sent yet.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        queue_size: int,
        first_retry: float,
        longest_retry: float,
        give_up_after: float,
        exit_timeout: float,
    ) -> None:
        self._connection = connection
        self._queue_size = queue_size
        self._first_retry = first_retry
        self._longest_retry = longest_retry
        self._give_up_after = give_up_after
        self._exit_timeout = exit_timeout
        self._exit_by: float | None = None
        self._closed = False
        self._begin()
        _senders.add(self)

    def _begin(self) -> None:
        self._changed = threading.Condition()
        self._queue: deque[bytes] = deque()  # the first may be under way
        self._accepted = self._done = 0
        self._thread: threading.Thread | None = None
        self._hurry = self._stopped = False
        self._full = Trouble(logger)
        self._away = Trouble(logger)
        self._refusing = Trouble(logger, logging.ERROR)
        self.dropped = 0
        self.refused = 0

    def begin_anew(self) -> None:
        """Forget events and counts, in a process that was forked: they are its parent's, as is the thread."""
        self._begin()
        self._connection.renew()

    @property
    def waiting(self) -> int:
        """How many events are not sent yet."""
        return len(self._queue)

    def put(self, body: bytes) -> None:
        """Have an event sent; it is dropped, and counted, where too many wait already, and after ``close``."""
        with self._changed:
            fits = not self._closed and len(self._queue) < self._queue_size and self._start()
            if fits:
                self._queue.append(body)
                self._accepted += 1
                self._changed.notify_all()
            else:
                self.dropped += 1
        if not fits and not self._closed:
            self._full.occurs("%d events wait for %s: further ones are dropped", self.waiting, self._connection.url)
        if self._exit_by is not None:  # nobody else waits for it any more
            self.flush(self._exit_by - time.monotonic())

    def flush(self, timeout: float) -> bool:
        """Wait until what has been put so far is sent, dropped or refused; return whether it is.

        An event that waits for its next attempt is tried at once.

        Args:
            timeout: seconds to wait at most.
        """
        with self._changed:
            accepted = self._accepted
            self._hurry = bool(self._queue)
            self._changed.notify_all()
            return self._changed.wait_for(lambda: self._done >= accepted, max(timeout, 0.0))

    def close(self, timeout: float) -> bool:
        """Take nothing more, send what waits, and drop what is left then; return whether nothing was.

        Args:
            timeout: seconds to wait at most.
        """
        self._closed = True
        sent = self.flush(timeout)
        with self._changed:
            self._stopped = True
            left = len(self._queue)
            self._queue.clear()
            self._done = self._accepted
            self.dropped += left
            self._changed.notify_all()
        self._warn_of_loss(left)
        if self._thread is not None and sent:
            self._thread.join(_END_OF_THREAD)
        return sent

    def at_exit(self, started: float) -> None:
        """Give the events that wait a last chance.

        Args:
            started: the moment of ``time.monotonic`` at which the process began to end.
        """
        self._exit_by = started + self._exit_timeout
        self.flush(self._exit_by - time.monotonic())
        self._warn_of_loss(self.waiting)

    def _warn_of_loss(self, events: int) -> None:
        if events:
            logger.warning("Not sent to %s: %d event(s)", self._connection.url, events)

    def _start(self) -> bool:
        """Start the thread unless it runs: not before there is an event, because a process may fork until then."""
        if self._thread is None:
            thread = threading.Thread(target=self._work, name="croneye", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the process has too many, or has ended but for its exit handlers
                return False
            self._thread = thread
        return True

    def _work(self) -> None:
        while (body := self._next()) is not None:
            self._deliver(body)
            with self._changed:
                if self._stopped:
                    break
                self._queue.popleft()
                self._done += 1
                self._changed.notify_all()
                has_room = len(self._queue) <= self._queue_size // 2
            if has_room:
                self._full.is_over("There is room again for events for %s; %d were dropped", self._connection.url)
        self._connection.close()

    def _next(self) -> bytes | None:
        """Wait for an event, which stays in the queue until it is done; None after ``close``."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._stopped)
            return None if self._stopped else self._queue[0]

    def _deliver(self, body: bytes) -> None:
        """Try until the server has the event, or refuses it, or the time is up."""
        url, wait, give_up_at = self._connection.url, self._first_retry, math.inf
        while not self._stopped:
            outcome = self._attempt(body)
            status = outcome.status or 0
            if outcome.result != "failed":
                self._away.is_over("%s answers again; attempts that failed: %d", url)
            if outcome.result == "delivered":
                self._refusing.is_over("%s takes events again; it has refused %d", url)
                return
            if status >= 500 and status not in _AWAY:
                give_up_at = min(give_up_at, time.monotonic() + self._give_up_after)
            if outcome.result == "refused" or time.monotonic() >= give_up_at:
                self.refused += 1
                hint = _HINTS.get(status, "")
                self._refusing.occurs("%s refuses an event, which is lost: %s%s", url, outcome.error, hint)
                return
            self._away.occurs("%s takes no events (%s): they wait, and are sent in order", url, outcome.error)
            hurried = self._pause(max(wait * random.uniform(0.5, 1.0), outcome.retry_after or 0.0))  # noqa: S311
            wait = self._first_retry if hurried else min(2 * wait, self._longest_retry)

    def _attempt(self, body: bytes) -> Outcome:
        try:
            return self._connection.post(body)
        except Exception as error:  # without this thread nothing would be sent any more
            return Outcome("failed", f"{type(error).__name__} in the client")

    def _pause(self, seconds: float) -> bool:
        """Wait, and return whether somebody did not want to."""
        with self._changed:
            hurried = self._changed.wait_for(lambda: self._hurry or self._stopped, seconds)
            self._hurry = False
        return hurried


_senders: WeakSet[BackgroundSender] = WeakSet()


def _begin_anew() -> None:
    for sender in _senders:
        sender.begin_anew()


def _at_exit() -> None:
    started = time.monotonic()
    for sender in list(_senders):
        sender.at_exit(started)


os.register_at_fork(after_in_child=_begin_anew)
# Not before threads end: the jobs that are under way then end first, and tell of it.
atexit.register(_at_exit)
