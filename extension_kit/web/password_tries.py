"""Limits of wrong passwords for routes of protocols: each further wrong try makes the client wait longer.

Each process counts tries in its memory, within a bound, so that a try costs the database nothing.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from ipaddress import IPv6Address, ip_address
from typing import NamedTuple

_FORGOTTEN_AFTER = 900.0  # seconds without another wrong try
_MOST_KNOWN = 10_000  # addresses and names that are kept
_NETWORK = 64  # bits of an IPv6 address: a client with one address has its whole network


class Limit(NamedTuple):
    """The number of free wrong tries, and the longest wait in seconds. Waits double from 1 s on."""

    free: int
    longest: float


_LIMITS = {"address": Limit(5, 60.0), "name": Limit(5, 30.0), "all": Limit(50, 1.0)}

Key = tuple[str, str]
"""A kind of limit, and the address or name that it counts for."""


class _Wrong(NamedTuple):
    times: int
    at: float

    def wait(self, limit: Limit) -> float:
        over = self.times - limit.free
        return 0.0 if over < 0 else min(2.0 ** min(over, 30), limit.longest)


class TooManyTries(Exception):
    """The next try has to wait.

    Args:
        seconds: the time to wait.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(f"wait for {seconds:.0f} s")
        self.seconds = seconds


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
        self._lock = threading.Lock()

    def check_delay(self, keys: Iterable[Key]) -> None:
        """Refuse a try that comes too early.

        Raises:
            TooManyTries: the try has to wait.
        """
        now = self._clock()
        with self._lock:
            left = [wrong.at + wrong.wait(_LIMITS[key[0]]) - now for key in keys if (wrong := self._known.get(key))]
        if (longest := max(left, default=0.0)) > 0:
            raise TooManyTries(longest)

    def failed(self, keys: Iterable[Key]) -> None:
        """Count a wrong try."""
        now = self._clock()
        with self._lock:
            for key in keys:
                before = self._known.pop(key, None)
                is_recent = before is not None and now - before.at < _FORGOTTEN_AFTER
                self._known[key] = _Wrong(before.times + 1 if before and is_recent else 1, now)
            while len(self._known) > self._limit:
                self._known.popitem(last=False)

    def succeeded(self, keys: Iterable[Key]) -> None:
        """Forget the wrong tries of an address and a name after a right password."""
        with self._lock:
            for key in keys:
                if key[0] != "all":
                    self._known.pop(key, None)


def limit_keys(address: str | None, name: str | None) -> tuple[Key, ...]:
    """Return the keys that a try counts for.

    Args:
        address: the client's address, if it has one.
        name: the name that is tried. Only its hash is kept, so it may be long. None: there are no names.
    """
    of_name = () if name is None else (("name", str(hash(name))),)
    return ("address", _network(address or "")), *of_name, ("all", "")


def _network(address: str) -> str:
    try:
        found = ip_address(address)
    except ValueError:  # a Unix socket has none
        return address
    if isinstance(found, IPv6Address) and found.ipv4_mapped is None:
        return str(int(found) >> (128 - _NETWORK))
    return str(found)
