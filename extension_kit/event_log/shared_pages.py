"""Shared pages: a page that several people look at is made once in a few seconds, for all of them."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import NamedTuple

from werkzeug.exceptions import ServiceUnavailable

_SECONDS = 3.0
_TIMES_MAKING = 40  # how many times as long a page is shared as it took to make: then it takes little of a processor
_MOST_SECONDS = 15.0
_MOST_PAGES = 200
_MOST_BYTES = 16 * 1024**2
_LONGEST_WAIT = 10.0  # seconds


class _Page(NamedTuple):
    content: bytes
    until: float


class _Making(NamedTuple):
    """A page that a thread is making."""

    result: Future[bytes]
    began: float


class SharedPages:
    """Pages that were made a moment ago, and those that are being made.

    Args:
        seconds: age from which on a page is made anew, counted from the beginning of its making.
        most_seconds: the same for a page that takes long to make.
        most_pages: number of pages that are kept.
        most_bytes: of their contents together.
        clock: returns monotonic seconds.
    """

    def __init__(
        self,
        seconds: float = _SECONDS,
        most_seconds: float = _MOST_SECONDS,
        most_pages: int = _MOST_PAGES,
        most_bytes: int = _MOST_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._seconds = seconds
        self._most_seconds = most_seconds
        self._most_pages = most_pages
        self._most_bytes = most_bytes
        self._clock = clock
        self._pages: OrderedDict[Hashable, _Page] = OrderedDict()  # in the order of their making
        self._bytes = 0
        self._making: dict[Hashable, _Making] = {}
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], bytes]) -> bytes:
        """Return a page: a recent one, the one that another thread is making, or a new one.

        Args:
            key: the same for requests that get the same page.
            make: makes the page. Its exceptions are raised in all threads that wait for it, and not kept.

        Raises:
            ServiceUnavailable: another thread takes too long to make it.
        """
        with self._lock:
            now = self._clock()
            known = self._pages.get(key)
            if known is not None and now < known.until:
                return known.content
            making = self._making.get(key)
            if making is None or now - making.began >= self._seconds:
                mine = self._making[key] = _Making(Future(), now)
                making = None
        if making is None:
            return self._make(key, mine, make)
        try:
            return making.result.result(_LONGEST_WAIT)
        except TimeoutError as error:
            if making.result.done():
                return making.result.result()
            raise ServiceUnavailable("This page takes long: try again in a moment.", retry_after=1) from error

    def forget(self) -> None:
        """Have all pages made anew from now on, those included that are being made."""
        with self._lock:
            self._pages.clear()
            self._making.clear()
            self._bytes = 0

    def _make(self, key: Hashable, mine: _Making, make: Callable[[], bytes]) -> bytes:
        content = None
        try:
            content = make()
        except BaseException as error:
            mine.result.set_exception(error)
            raise
        finally:
            with self._lock:
                if self._making.get(key) is mine:
                    del self._making[key]
                    if content is not None:
                        took = self._clock() - mine.began
                        shared = max(self._seconds, min(took * _TIMES_MAKING, self._most_seconds))
                        self._keep(key, _Page(content, mine.began + shared))
        mine.result.set_result(content)
        return content

    def _keep(self, key: Hashable, page: _Page) -> None:
        if (before := self._pages.pop(key, None)) is not None:
            self._bytes -= len(before.content)
        self._pages[key] = page
        self._bytes += len(page.content)
        while len(self._pages) > self._most_pages or self._bytes > self._most_bytes:
            self._bytes -= len(self._pages.popitem(last=False)[1].content)
