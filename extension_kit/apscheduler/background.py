"""Background sender: a bounded queue of events, and the thread that sends them in order, with retries."""

import atexit
import logging
import math
import os
import threading
import time
from collections import deque
from random import SystemRandom
from weakref import WeakSet

from extension_kit.apscheduler.connection import Connection
from extension_kit.apscheduler.repeated_failures import RepeatedFailure
from extension_kit.senders import Outcome

logger = logging.getLogger("extension_kit.apscheduler")

_UNAVAILABLE = {502, 503, 504}
_HINTS = dict.fromkeys((301, 302, 307, 308), "; redirects are not followed, the URL has to be the one they lead to") | {
    400: "; it finds no Authorization header, which a proxy may have removed, or nothing that it can store",
    401: "; compare the token with those that the server accepts",
    403: "; compare the token with those that the server accepts",
    404: "; the URL has to be that of CronEye's API, without /event",
}
_JOIN_SECONDS = 1.0


class BackgroundSender:
    """Sends events one after the other, in order. Waiting events are kept in memory.

    A failed event is retried, after longer and longer waits, before any other is sent. Because an answer may be lost,
    an event may be sent twice.

    Args:
        connection: the connection to the server; used by the thread only.
        queue_size: maximum number of waiting events; further ones are dropped.
        queue_bytes: maximum bytes of waiting events; further ones are dropped.
        first_retry: seconds to the second attempt; each further wait is twice as long, and randomly up to a half
            shorter, so that services do not retry together.
        longest_retry: maximum seconds of a wait, unless the server asks for a longer one.
        give_up_after: seconds after which an event is given up that the server answers with an error such as 500.
            Upstream's server answers so to events it cannot read, and one of them must not block all others.
        exit_timeout: seconds for which the end of the process waits for events.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        queue_size: int,
        queue_bytes: int,
        first_retry: float,
        longest_retry: float,
        give_up_after: float,
        exit_timeout: float,
    ) -> None:
        self._connection = connection
        self._queue_size = queue_size
        self._queue_bytes = queue_bytes
        self._first_retry = first_retry
        self._longest_retry = longest_retry
        self._give_up_after = give_up_after
        self._exit_timeout = exit_timeout
        self._exit_by: float | None = None
        self._closed = False
        self._reset()
        _senders.add(self)

    def _reset(self) -> None:
        self._changed = threading.Condition()
        self._queue: deque[bytes] = deque()  # the thread may be sending the first
        self._bytes = 0  # of the queue
        self._accepted = self._done = 0
        self._thread: threading.Thread | None = None
        self._retry_now = self._stopped = False
        self._full = RepeatedFailure(logger)
        self._unavailable = RepeatedFailure(logger)
        self._refusing = RepeatedFailure(logger, logging.ERROR)
        self.dropped = 0
        self.refused = 0

    def reset_after_fork(self) -> None:
        """Discard events and counts in a forked process: they belong to its parent, as does the thread."""
        self._reset()
        self._connection.renew()

    @property
    def waiting(self) -> int:
        """Number of events that are not sent yet."""
        return len(self._queue)

    def put(self, body: bytes) -> None:
        """Queue an event. It is dropped, and counted, if the queue is full and after ``close``."""
        with self._changed:
            has_room = len(self._queue) < self._queue_size and self._bytes + len(body) <= self._queue_bytes
            fits = not self._closed and has_room and self._start()
            if fits:
                self._queue.append(body)
                self._bytes += len(body)
                self._accepted += 1
                self._changed.notify_all()
            else:
                self.dropped += 1
        if not fits and not self._closed:
            self._full.failed("%d events wait for %s, further ones are dropped", self.waiting, self._connection.url)
        if self._exit_by is not None:  # at_exit, which waits for events, may be over already
            self.flush(self._exit_by - time.monotonic())

    def flush(self, timeout: float) -> bool:
        """Wait for all events put so far; return True if they were sent, refused or dropped in time.

        An event that waits for its next attempt is retried at once.

        Args:
            timeout: maximum seconds to wait.
        """
        with self._changed:
            accepted = self._accepted
            self._retry_now = bool(self._queue)
            self._changed.notify_all()
            return self._changed.wait_for(lambda: self._done >= accepted, max(timeout, 0.0))

    def close(self, timeout: float) -> bool:
        """Accept no more events, send those that wait, and drop the rest; return True if none were dropped.

        Args:
            timeout: maximum seconds to wait.
        """
        self._closed = True
        sent = self.flush(timeout)
        with self._changed:
            self._stopped = True
            lost = len(self._queue)
            self._queue.clear()
            self._bytes = 0
            self._done = self._accepted
            self.dropped += lost
            self._changed.notify_all()
        self._log_lost(lost)
        if self._thread is not None and sent:
            self._thread.join(_JOIN_SECONDS)
        return sent

    def at_exit(self, started: float) -> None:
        """Send waiting events at the end of the process, for ``exit_timeout`` seconds.

        Args:
            started: the moment of ``time.monotonic`` at which the exit handlers began.
        """
        self._exit_by = started + self._exit_timeout
        self.flush(self._exit_by - time.monotonic())
        self._log_lost(self.waiting)

    def _log_lost(self, events: int) -> None:
        if events:
            logger.warning("Not sent to %s: %d event(s)", self._connection.url, events)

    def _start(self) -> bool:
        """Start the thread if there is none; return True if it runs. Only put calls it: a process may fork before."""
        if self._thread is None:
            thread = threading.Thread(target=self._work, name="croneye", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # too many threads, or the process runs its exit handlers
                return False
            self._thread = thread
        return True

    def _work(self) -> None:
        while (body := self._next()) is not None:
            self._deliver(body)
            with self._changed:
                if self._stopped:
                    break
                self._bytes -= len(self._queue.popleft())
                self._done += 1
                self._changed.notify_all()
                has_room = len(self._queue) <= self._queue_size // 2 and self._bytes <= self._queue_bytes // 2
            if has_room:
                self._full.recovered("Events for %s are queued again; dropped: %d", self._connection.url)
        self._connection.close()

    def _next(self) -> bytes | None:
        """Wait for an event and return it, without removing it from the queue; return None after ``close``."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._stopped)
            return None if self._stopped else self._queue[0]

    def _deliver(self, body: bytes) -> None:
        """Make attempts until the server accepts or refuses the event, or ``give_up_after`` has passed."""
        url, wait, give_up_at = self._connection.url, self._first_retry, math.inf
        while not self._stopped:
            outcome = self._attempt(body)
            status = outcome.status or 0
            if outcome.result != "failed":
                self._unavailable.recovered("%s is available again; failed attempts: %d", url)
            if outcome.result == "delivered":
                self._refusing.recovered("%s accepts events again; refused: %d", url)
                return
            # With a time for the next attempt it is the server that is out of order, not the event.
            if status >= 500 and status not in _UNAVAILABLE and outcome.retry_after is None:
                give_up_at = min(give_up_at, time.monotonic() + self._give_up_after)
            if outcome.result == "refused" or time.monotonic() >= give_up_at:
                self.refused += 1
                hint = _HINTS.get(status, "")
                self._refusing.failed("%s refuses an event, which is lost: %s%s", url, outcome.error, hint)
                return
            self._unavailable.failed("%s is unavailable (%s): events wait, and are sent in order", url, outcome.error)
            interrupted = self._pause(max(wait * SystemRandom().uniform(0.5, 1.0), outcome.retry_after or 0.0))
            wait = self._first_retry if interrupted else min(2 * wait, self._longest_retry)

    def _attempt(self, body: bytes) -> Outcome:
        try:
            return self._connection.post(body)
        except Exception as error:  # an exception would end the thread, and with it all sending
            return Outcome("failed", f"{type(error).__name__} in the client")

    def _pause(self, seconds: float) -> bool:
        """Wait, and return True if ``flush`` or ``close`` interrupted the wait."""
        with self._changed:
            interrupted = self._changed.wait_for(lambda: self._retry_now or self._stopped, seconds)
            self._retry_now = False
        return interrupted


_senders: WeakSet[BackgroundSender] = WeakSet()


def _reset_senders() -> None:
    for sender in _senders:
        sender.reset_after_fork()


def _at_exit() -> None:
    started = time.monotonic()
    for sender in list(_senders):
        sender.at_exit(started)


if hasattr(os, "register_at_fork"):  # Windows has no forks
    os.register_at_fork(after_in_child=_reset_senders)
# atexit handlers run after the end of non-daemon threads, so that running jobs can end and send their events.
atexit.register(_at_exit)
