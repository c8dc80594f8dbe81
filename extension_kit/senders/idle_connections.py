"""Connections: how one is made, and where it waits for its next use."""

import errno
import math
import ssl
import threading
import time
from collections.abc import Callable, Collection, Hashable
from typing import Generic, NamedTuple, TypeVar

from extension_kit.errors import ConfigurationError

A = TypeVar("A")
C = TypeVar("C")

_UNREACHABLE = {errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ETIMEDOUT}
_PATIENT = 3.0  # seconds after which a host that has not answered counts as unreachable


class NoConnectionError(Exception):
    """A host could not be connected to; its cause says why.

    Args:
        cause: what dialling raised.
        seconds: the time that there was for it.
    """

    def __init__(self, cause: Exception, seconds: float) -> None:
        super().__init__()
        self.cause = cause.__cause__ or cause  # libraries have errors of their own around it
        number = getattr(self.cause, "errno", None)
        is_late = isinstance(self.cause, TimeoutError) and number is None
        self.unreachable = seconds >= _PATIENT if is_late else number in _UNREACHABLE
        """Whether it is the host that cannot be reached, and not this target that gives it too little time."""


class _Idle(NamedTuple, Generic[C]):
    until: float
    key: Hashable
    connection: C


class IdleConnections(Generic[C]):
    """Connections that nobody uses at the moment. One that is taken is its taker's alone, until it is given back.

    Args:
        close: closes a connection; must not raise.
        limit: how many are kept; the oldest is closed for one more.
        seconds: how long one is kept; without end (``math.inf``) no thread looks after them.
    """

    def __init__(self, close: Callable[[C], None], *, limit: int, seconds: float) -> None:
        self._close = close
        self._limit = limit
        self._seconds = seconds
        self._idle: list[_Idle[C]] = []  # oldest first
        self._timer: threading.Timer | None = None
        self._closed = False
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._idle)

    def take(self, key: Hashable) -> C | None:
        """The connection of this key that was used last, if there is one."""
        with self._lock:
            for place in reversed(range(len(self._idle))):
                if self._idle[place].key == key:
                    return self._idle.pop(place).connection
        return None

    def give(self, key: Hashable, connection: C) -> None:
        """Keep a connection that can be used again; after ``close`` it is closed."""
        closing = [connection]
        with self._lock:
            if not self._closed:
                self._idle.append(_Idle(time.monotonic() + self._seconds, key, connection))
                closing = [self._idle.pop(0).connection] if len(self._idle) > self._limit else []
                self._look_later()
        for old in closing:
            self._close(old)

    def close(self) -> None:
        """Close all of them, and from now on those that are given."""
        with self._lock:
            self._closed = True
            closing, self._idle = self._idle, []
            if self._timer:
                self._timer.cancel()
        for idle in closing:
            self._close(idle.connection)

    def _look_later(self) -> None:
        if self._timer is None and self._idle and self._seconds != math.inf:
            self._timer = threading.Timer(max(0.0, self._idle[0].until - time.monotonic()), self._expire)
            self._timer.daemon = True
            self._timer.start()

    def _expire(self) -> None:
        with self._lock:
            now = time.monotonic()
            closing = [idle for idle in self._idle if idle.until <= now]
            self._idle = self._idle[len(closing) :]
            self._timer = None
            if not self._closed:
                self._look_later()
        for idle in closing:
            self._close(idle.connection)


def dial_in_turn(addresses: Collection[A], ends_at: float, dial: Callable[[A, float], C]) -> C:
    """Connect to the first address that answers.

    Args:
        addresses: in the order in which they are tried.
        ends_at: the moment of ``time.monotonic`` at which there has to be a connection.
        dial: connects to an address within some seconds: its share of the time that is left.

    Raises:
        NoConnectionError: none does; the cause is what ``dial`` raised for the last address.
    """
    began = time.monotonic()
    failure: Exception = TimeoutError("timed out")
    for others, address in zip(reversed(range(len(addresses))), addresses, strict=True):
        share = (ends_at - time.monotonic()) / (others + 1)
        if share <= 0:
            break
        try:
            return dial(address, share)
        except Exception as error:
            failure = error
    raise NoConnectionError(failure, ends_at - began) from failure


def client_context(ca_file: str | None) -> ssl.SSLContext:
    """A TLS context that verifies servers and their names.

    Args:
        ca_file: PEM file with the authorities to trust instead of the system's; None for the system's.

    Raises:
        ConfigurationError: the file cannot be used.
    """
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        reason = "it is not a PEM file of certificates" if isinstance(error, ssl.SSLError) else error.strerror
        raise ConfigurationError(f'the authorities in "{ca_file}" cannot be used: {reason}') from error
