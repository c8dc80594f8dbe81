"""State: a durable key-value store for the functions of an extension.

The changes of an attempt are collected here. They are written in the transaction that ends the delivery as delivered
(``deliveries/state.py``), so that an attempt that ends otherwise leaves nothing.
"""

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import Any

from extension_kit.events.readable_state import ReadableState
from extension_kit.events.state_values import (
    MAX_KEYS,
    MAX_NUMBER,
    Addition,
    Change,
    ChangedState,
    StateReader,
    check_key,
    encode,
)

MAX_CHANGES = 100
"""Maximum number of keys that an attempt changes."""

NO_STATE = "event.state is for deliveries of durable listeners: leave immediate=True out"
"""Message where an event has no state."""

_making = Lock()


class State(ReadableState):
    """The state of an extension, as a function of a durable listener sees and changes it.

    An attempt sees its own changes, those of earlier deliveries of its series, and what is committed of others. Its
    changes are written if, and only if, the delivery ends as delivered in this attempt. The changes of a series are
    written in its order; between series, the last writer wins.

    Args:
        below: reads the values without the changes of this attempt.
        keep: the default and maximum time for which a value is kept.
        deadline: the time at which the attempt ends, by ``time.monotonic()``.
    """

    def __init__(self, below: StateReader, keep: timedelta, deadline: float) -> None:
        self._changes: dict[str, Change] = {}
        self._additions: dict[str, Addition] = {}
        super().__init__(ChangedState(below, self._changes))
        self._keep = keep
        self._deadline = deadline
        self._lock = Lock()
        self._has_ended = False

    def set(self, key: str, value: Any, ttl: float | None = None) -> None:
        """Set the value of a key.

        Args:
            key: 1 to 200 characters.
            value: JSON data of at most 64 KB (65,536 bytes): None, truth values, texts, numbers, lists and objects.
            ttl: seconds for which the value is kept; by default, and at most, as many days as events
                (``EXTENSION_RETENTION_DAYS``).

        Raises:
            TypeError: the key is no text, the value no JSON data, or the ttl no number.
            ValueError: one of them is out of range, the attempt changes more than 100 keys, or the extension has
                100,000 keys already.
            RuntimeError: the attempt has ended.
            StoreError: the database cannot be read.
        """
        check_key(key)
        kept, written = self._kept_for(ttl), encode(key, value)
        self._check_room(key)
        self._change(key, Change(written, datetime.now(UTC) + kept))

    def add(self, key: str, number: float = 1) -> None:
        """Add a number to the sum of a key, which is 0 at first. Sums are apart from values and have keys of their own.

        No addition is lost or made twice, whatever is added in other deliveries and workers at the same time: it is
        written in the transaction that ends the delivery as delivered. ``extension.state.sums`` reads sums, outside
        deliveries. A sum begins at 0 again if nothing was added to it for ``EXTENSION_RETENTION_DAYS``.

        Args:
            key: 1 to 200 characters.
            number: from -1e100 to 1e100.

        Raises:
            TypeError: the key is no text, or the number no number.
            ValueError: one of them is out of range, the attempt adds to more than 100 sums, or the extension has
                100,000 keys already.
            RuntimeError: the attempt has ended.
            StoreError: the database cannot be read.
        """
        check_key(key)
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise TypeError(f"a number is added to a sum, not {number!r:.80}")
        if not abs(number) <= MAX_NUMBER:  # nor not-a-number
            raise ValueError(f"a number from {-MAX_NUMBER:g} to {MAX_NUMBER:g} is added to a sum, not {number!r:.80}")
        self._check_room(key)
        with self._lock:
            self._check_open()
            before = self._additions.get(key)
            if before is None and len(self._additions) >= MAX_CHANGES:
                raise ValueError(f"{key!r} is a sum too many: an attempt adds to at most {MAX_CHANGES} sums")
            total = float(number) + (before.number if before else 0.0)
            self._additions[key] = Addition(total, datetime.now(UTC) + self._keep)

    def delete(self, key: str) -> None:
        """Remove a key, if it is there.

        Raises:
            TypeError: the key is no text.
            ValueError: the key is out of range, or the attempt changes more than 100 keys.
            RuntimeError: the attempt has ended.
        """
        check_key(key)
        self._change(key, Change(None, datetime.now(UTC) + self._keep))

    def end(self) -> Mapping[str, Change]:
        """End the attempt: refuse further changes, and return those that were made."""
        with self._lock:
            self._has_ended = True
            return self._changes

    @property
    def additions(self) -> Mapping[str, Addition]:
        """The additions to sums, by key."""
        return self._additions

    def _change(self, key: str, change: Change) -> None:
        with self._lock:
            self._check_open()
            if key not in self._changes and len(self._changes) >= MAX_CHANGES:
                raise ValueError(f"{key!r} is a change too many: an attempt changes at most {MAX_CHANGES} keys")
            self._changes[key] = change

    def _check_room(self, key: str) -> None:
        self._check_open()
        if not self._bound().has_room_for(key):
            raise ValueError(
                f"{key!r} is a key too many: an extension has at most {MAX_KEYS}, so delete some or set ttl"
            )

    def _check_open(self) -> None:
        if self._has_ended or time.monotonic() >= self._deadline:
            raise RuntimeError("the attempt has ended: its state cannot be changed any more")

    def _kept_for(self, ttl: float | None) -> timedelta:
        if ttl is None:
            return self._keep
        if isinstance(ttl, bool) or not isinstance(ttl, int | float):
            raise TypeError(f"ttl is a number of seconds, not {ttl!r:.80}")
        if not ttl > 0:
            raise ValueError(f"ttl is a positive number of seconds, not {ttl!r:.80}")
        return timedelta(seconds=min(ttl, self._keep.total_seconds()))


class EventAttempt:
    """The attempt in which a function gets its event: its number, and the state, made at the first use.

    Args:
        number: of the attempt, from 1.
        make_state: makes the state; None: there is none.
    """

    __slots__ = ("_has_ended", "_make_state", "_state", "number")

    def __init__(self, number: int, make_state: Callable[[], State] | None) -> None:
        self.number = number
        self._make_state = make_state
        self._state: State | None = None
        self._has_ended = False

    @property
    def state(self) -> State:
        """The state.

        Raises:
            RuntimeError: there is none.
        """
        if self._make_state is None:
            raise RuntimeError(NO_STATE)
        with _making:
            if self._state is None:
                self._state = self._make_state()
                if self._has_ended:
                    self._state.end()
            return self._state

    def end(self) -> Mapping[str, Change]:
        """End the attempt: refuse further changes of the state, and return those that were made."""
        self._has_ended = True
        return {} if self._state is None else self._state.end()

    @property
    def additions(self) -> Mapping[str, Addition]:
        """The additions to sums, by key; complete after ``end``."""
        return {} if self._state is None else self._state.additions
