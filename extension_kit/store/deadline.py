"""Deadlines of a thread for its database: for a whole transaction, or for each answer."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

LONG = 660.0
"""Seconds for an answer in long work; more than the server allows for any statement."""


class Limit:
    """A limit for the waits of a thread.

    Args:
        seconds: length.
        each: True: it begins anew with each answer; False: it begins now.
    """

    def __init__(self, seconds: float, *, each: bool = False) -> None:
        self.seconds = seconds
        self.each = each
        self._end = time.monotonic() + seconds

    def end(self) -> float:
        """Return the time, by ``time.monotonic()``, at which a wait that begins now has to end."""
        return time.monotonic() + self.seconds if self.each else self._end

    def left(self) -> float:
        """Return the seconds until ``end``, at least 0."""
        return max(self.end() - time.monotonic(), 0.0)


class _OfThread(threading.local):
    limit: Limit | None = None


_of_thread = _OfThread()
_LONGEST = Limit(LONG, each=True)


def limit() -> Limit:
    """Return the limit of this thread; by default, ``LONG`` for each answer."""
    return _of_thread.limit or _LONGEST


@contextmanager
def within(seconds: float) -> Iterator[Limit]:
    """Limit all waits in the block to ``seconds`` in total. Inside another limit, the outer one holds."""
    before = _of_thread.limit
    _of_thread.limit = before or Limit(seconds)
    try:
        yield _of_thread.limit
    finally:
        _of_thread.limit = before


@contextmanager
def patiently(seconds: float = LONG) -> Iterator[None]:
    """Limit each wait in the block to ``seconds``, however many there are. For long work."""
    before = _of_thread.limit
    _of_thread.limit = Limit(seconds, each=True)
    try:
        yield
    finally:
        _of_thread.limit = before
