"""Connection pool: keeps idle connections by key, tries the addresses of a host, and makes TLS contexts of clients."""

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
_SUFFICIENT_SECONDS = 3.0  # seconds after which a host that has not answered counts as unreachable


class NoConnectionError(Exception):
    """No address of a host could be connected to.

    Args:
        cause: the error of the last address.
        seconds: the seconds that were available.
    """

    def __init__(self, cause: Exception, seconds: float) -> None:
        super().__init__()
        self.cause = cause.__cause__ or cause  # libraries wrap the system's error in their own
        number = getattr(self.cause, "errno", None)
        is_late = isinstance(self.cause, TimeoutError) and number is None
        self.unreachable = seconds >= _SUFFICIENT_SECONDS if is_late else number in _UNREACHABLE
        """True if the host is at fault, False if the timeout of this target may be too short."""


class _Idle(NamedTuple, Generic[C]):
    until: float
    key: Hashable
    connection: C


class IdleConnections(Generic[C]):
    """Idle connections by key. Thread-safe; an acquired connection belongs to its caller until it is released.

    Args:
        close: closes a connection; must not raise.
        limit: maximum number of connections; a further one replaces the oldest.
        seconds: seconds to keep a connection; with ``math.inf`` no thread is started to close them.
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

    def acquire(self, key: Hashable) -> C | None:
        """Remove and return the most recently released connection of a key; None if there is none."""
        with self._lock:
            for index in reversed(range(len(self._idle))):
                if self._idle[index].key == key:
                    return self._idle.pop(index).connection
        return None

    def release(self, key: Hashable, connection: C) -> None:
        """Keep a reusable connection; after ``close``, close it."""
        closing = [connection]
        with self._lock:
            if not self._closed:
                self._idle.append(_Idle(time.monotonic() + self._seconds, key, connection))
                closing = [self._idle.pop(0).connection] if len(self._idle) > self._limit else []
                self._schedule_expiry()
        for old in closing:
            self._close(old)

    def close(self) -> None:
        """Close all idle connections, and from now on those that are released."""
        with self._lock:
            self._closed = True
            closing, self._idle = self._idle, []
            if self._timer:
                self._timer.cancel()
        for idle in closing:
            self._close(idle.connection)

    def _schedule_expiry(self) -> None:
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
                self._schedule_expiry()
        for idle in closing:
            self._close(idle.connection)


def dial_first(addresses: Collection[A], ends_at: float, dial: Callable[[A, float], C]) -> C:
    """Connect to the first address that answers.

    Args:
        addresses: addresses in the order in which they are tried.
        ends_at: the deadline, a moment of ``time.monotonic``.
        dial: connects to an address within a number of seconds: an equal share of the time that is left.

    Raises:
        NoConnectionError: no address answered; the cause is the error of the last one.
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
    """Return a TLS context that verifies servers and their names.

    Args:
        ca_file: PEM file with CA certificates to trust instead of the system's; None for the system's.

    Raises:
        ConfigurationError: the file cannot be used.
    """
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        reason = "it is not a PEM file of certificates" if isinstance(error, ssl.SSLError) else error.strerror
        raise ConfigurationError(f'the authorities in "{ca_file}" cannot be used: {reason}') from error
