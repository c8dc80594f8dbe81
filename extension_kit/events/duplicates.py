"""Remembers which events arrived, so that one that is sent again is not handled again."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from hashlib import blake2b
from typing import Generic, TypeVar

T = TypeVar("T")
Key = tuple[str, str | bytes]

_LONGEST_ID = 64


def _key(path: str, event_id: str) -> Key:
    """Ids come from outside and may be megabytes: what is remembered of one is bounded."""
    if len(event_id) <= _LONGEST_ID:
        return path, event_id
    return path, blake2b(event_id.encode(), digest_size=32).digest()


class RecentEvents(Generic[T]):
    """What happened to the events of the last while, by path and event id.

    The same event at another path is not a duplicate: agents call every path that wants it.

    Args:
        window: seconds for which an event is remembered.
        limit: how many events are remembered at most; the oldest are forgotten first.
    """

    def __init__(self, window: float, limit: int) -> None:
        self._window = window
        self._limit = limit
        self._entries: OrderedDict[Key, tuple[float, T]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def claim(self, path: str, event_id: str, make: Callable[[], T]) -> tuple[T, bool]:
        """Return what is remembered of an event, else what ``make`` makes, and whether it is new."""
        key = _key(path, event_id)
        now = time.monotonic()
        entries = self._entries
        with self._lock:
            if (entry := entries.get(key)) is not None and entry[0] > now:
                return entry[1], False
            entries.pop(key, None)  # an expired one must not keep its place in the order of age
            value = make()
            entries[key] = (now + self._window, value)
            while entries and (len(entries) > self._limit or next(iter(entries.values()))[0] <= now):
                entries.popitem(last=False)
            return value, True

    def forget(self, path: str, event_id: str) -> None:
        """Forget an event that could not be handled, so that it is handled when it is sent again."""
        with self._lock:
            self._entries.pop(_key(path, event_id), None)
