"""How long a thread waits for a database: for all of a transaction until a moment, or for each answer."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

LONG = 660.0
"""Seconds for an answer where work is long by its nature; more than any statement is allowed to take by the server."""


class Limit:
    """The patience of a thread.

    Args:
        seconds: how long.
        each: whether it begins anew with every answer that is waited for, instead of now.
    """

    def __init__(self, seconds: float, *, each: bool = False) -> None:
        self.seconds = seconds
        self.each = each
        self._end = time.monotonic() + seconds

    def end(self) -> float:
        """When a wait that begins now has to be over, by ``time.monotonic()``."""
        return time.monotonic() + self.seconds if self.each else self._end

    def left(self) -> float:
        """The seconds until then, at least 0."""
        return max(self.end() - time.monotonic(), 0.0)


class _OfThread(threading.local):
    limit: Limit | None = None


_of_thread = _OfThread()
_LONGEST = Limit(LONG, each=True)


def limit() -> Limit:
    """What holds in this thread now; for each answer ``LONG`` where nothing was said."""
    return _of_thread.limit or _LONGEST


@contextmanager
def within(seconds: float) -> Iterator[Limit]:
    """Wait no longer than so many seconds from now on, all in all; within another such limit, that one holds."""
    before = _of_thread.limit
    _of_thread.limit = before or Limit(seconds)
    try:
        yield _of_thread.limit
    finally:
        _of_thread.limit = before


@contextmanager
def patiently(seconds: float = LONG) -> Iterator[None]:
    """Wait so many seconds for each answer, however many there are: for what is long by its nature."""
    before = _of_thread.limit
    _of_thread.limit = Limit(seconds, each=True)
    try:
        yield
    finally:
        _of_thread.limit = before
