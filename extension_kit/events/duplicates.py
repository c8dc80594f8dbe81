"""Duplicate detection of one process: remembers recent events by path and id. The outbox knows all events."""

import threading
import time
from collections import OrderedDict
from hashlib import blake2b
from typing import Generic, TypeVar

T = TypeVar("T")
Key = tuple[str, str | bytes]

_LONGEST_ID = 64


def _key(path: str, event_id: str) -> Key:
    """Return the key of an event, with a long id hashed: ids come from senders and may be megabytes."""
    if len(event_id) <= _LONGEST_ID:
        return path, event_id
    return path, blake2b(event_id.encode(), digest_size=32).digest()


class RecentEvents(Generic[T]):
    """A thread-safe map of recent events, by path and event id, to their outcomes.

    The same event at another path is no duplicate: agents call every path that listens to it.

    Args:
        window: seconds for which an event is remembered.
        limit: maximum number of remembered events; the oldest are forgotten first.
    """

    def __init__(self, window: float, limit: int) -> None:
        self._window = window
        self._limit = limit
        self._entries: OrderedDict[Key, tuple[float, T]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def claim(self, path: str, event_id: str, outcome: T) -> tuple[T, bool]:
        """Return the outcome of an event, the given one if the event is new, and True if it is new."""
        key = _key(path, event_id)
        now = time.monotonic()
        entries = self._entries
        with self._lock:
            if (entry := entries.get(key)) is not None:
                if entry[0] > now:
                    return entry[1], False
                del entries[key]  # an expired one must not keep its place in the order of age
            entries[key] = (now + self._window, outcome)
            while entries and (len(entries) > self._limit or next(iter(entries.values()))[0] <= now):
                entries.popitem(last=False)
            return outcome, True

    def forget(self, path: str, event_id: str) -> None:
        """Forget an event that failed, so that it is handled when it is sent again."""
        with self._lock:
            self._entries.pop(_key(path, event_id), None)
