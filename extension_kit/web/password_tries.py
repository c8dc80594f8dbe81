"""Limits of wrong passwords: each further wrong try makes the client wait longer.

Clients that have failed wait for each other, too. Those that have not are held up only while so many addresses fail for
the first time that they must be guessing together, and never one that has known the password before.

Each process counts tries in its memory, within a bound, so that a try costs the database nothing.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from ipaddress import IPv6Address, ip_address
from typing import NamedTuple

_FORGOTTEN_AFTER = 900.0  # seconds without another wrong try
_MOST_KNOWN = 10_000  # addresses and names that are kept, and addresses that have known the password
_FIRST_TRIES, _FIRST_PER_SECOND = 50.0, 5.0  # wrong ones of addresses that had not failed: at once, and again
_NETWORK = 64  # bits of an IPv6 address: a client with one address has its whole network


class Limit(NamedTuple):
    """The number of free wrong tries, and the longest wait in seconds. Waits double from 1 s on."""

    free: int
    longest: float


_LIMITS = {"address": Limit(5, 60.0), "name": Limit(5, 30.0)}
_OF_ALL = Limit(50, 1.0)  # for those that have failed

Key = tuple[str, str]
"""A kind of limit, and the address or name that it counts for."""


class _Wrong(NamedTuple):
    times: int
    at: float

    def wait(self, limit: Limit) -> float:
        over = self.times - limit.free
        return 0.0 if over < 0 else min(2.0 ** min(over, 30), limit.longest)

    def is_recent(self, now: float) -> bool:
        return now - self.at < _FORGOTTEN_AFTER

    def again(self, now: float) -> "_Wrong":
        """Return the tries with one more; an old one is forgotten."""
        return _Wrong(self.times + 1 if self.is_recent(now) else 1, now)


class TooManyTries(Exception):
    """The next try has to wait.

    Args:
        seconds: the time to wait.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(f"wait for {seconds:.0f} s")
        self.seconds = seconds


class _FirstTries:
    """Room for wrong tries of addresses that had not failed before, which grows again with time."""

    def __init__(self, now: float) -> None:
        self._room = _FIRST_TRIES
        self._at = now

    def wait(self, now: float) -> float:
        """Return the seconds until there is room for a try."""
        self._room = min(self._room + (now - self._at) * _FIRST_PER_SECOND, _FIRST_TRIES)
        self._at = now
        return max(1.0 - self._room, 0.0) / _FIRST_PER_SECOND

    def take(self, now: float) -> None:
        """Take the room of a try."""
        self.wait(now)
        self._room = max(self._room - 1.0, 0.0)


class Tries:
    """Counts wrong tries by address, by name, and in total.

    Args:
        clock: returns monotonic seconds.
        limit: maximum number of addresses and names that are kept.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, limit: int = _MOST_KNOWN) -> None:
        self._clock = clock
        self._limit = limit
        self._known: OrderedDict[Key, _Wrong] = OrderedDict()  # the latest wrong try is at the end
        self._all = _Wrong(0, clock())
        self._first = _FirstTries(clock())
        self._succeeded: OrderedDict[Key, None] = OrderedDict()  # addresses, the latest at the end
        self._lock = threading.Lock()

    def check_delay(self, keys: Collection[Key]) -> None:
        """Refuse a try that comes too early.

        Raises:
            TooManyTries: the try has to wait.
        """
        now = self._clock()
        with self._lock:
            left = [wrong.at + wrong.wait(_LIMITS[key[0]]) - now for key in keys if (wrong := self._known.get(key))]
            if self._has_failed(keys, now):
                left.append(self._all.at + self._all.wait(_OF_ALL) - now)
            elif self._succeeded.keys().isdisjoint(keys):
                left.append(self._first.wait(now))
        if (longest := max(left, default=0.0)) > 0:
            raise TooManyTries(longest)

    def failed(self, keys: Collection[Key]) -> None:
        """Count a wrong try."""
        now = self._clock()
        with self._lock:
            if not self._has_failed(keys, now):
                self._first.take(now)
            self._all = self._all.again(now)
            for key in keys:
                self._known[key] = self._known.pop(key, _Wrong(0, now)).again(now)
            while len(self._known) > self._limit:
                self._known.popitem(last=False)

    def succeeded(self, keys: Collection[Key]) -> None:
        """Forget the wrong tries of an address and a name after a right password."""
        with self._lock:
            for key in keys:
                self._known.pop(key, None)
                if key[0] == "address":
                    self._succeeded[key] = None
                    self._succeeded.move_to_end(key)
            while len(self._succeeded) > self._limit:
                self._succeeded.popitem(last=False)

    def _has_failed(self, keys: Collection[Key], now: float) -> bool:
        """Return True if the address of a try has failed recently."""
        known = [self._known[key] for key in keys if key[0] == "address" and key in self._known]
        return any(wrong.is_recent(now) for wrong in known)


def limit_keys(address: str | None, name: str | None) -> tuple[Key, ...]:
    """Return the keys that a try counts for.

    Args:
        address: the client's address, if it has one.
        name: the name that is tried. Only its hash is kept, so it may be long. None: there are no names.
    """
    of_name = () if name is None else (("name", str(hash(name))),)
    return ("address", _network(address or "")), *of_name


def _network(address: str) -> str:
    try:
        found = ip_address(address)
    except ValueError:  # a Unix socket has none
        return address
    if isinstance(found, IPv6Address) and found.ipv4_mapped is None:
        return str(int(found) >> (128 - _NETWORK))
    return str(found)
