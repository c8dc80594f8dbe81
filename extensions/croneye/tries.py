"""Wrong passwords: who tries again and again waits longer and longer.

Each process keeps what it has seen in memory, as far as it is bounded, so that a try costs the database nothing.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from ipaddress import IPv6Address, ip_address
from typing import NamedTuple

_FORGOTTEN_AFTER = 900.0  # seconds without another wrong try
_MOST_KNOWN = 10_000  # addresses and names that are remembered
_NETWORK = 64  # bits of an IPv6 address: who has one has all of its network


class Limit(NamedTuple):
    """How many wrong tries are free, and how many seconds the wait that doubles from 1 on has at most."""

    free: int
    longest: float


_LIMITS = {"address": Limit(5, 60.0), "name": Limit(5, 30.0), "all": Limit(50, 1.0)}

Key = tuple[str, str]
"""A kind of limit, and whom it is for."""


class _Wrong(NamedTuple):
    times: int
    at: float

    def wait(self, limit: Limit) -> float:
        over = self.times - limit.free
        return 0.0 if over < 0 else min(2.0 ** min(over, 30), limit.longest)


class TooManyTries(Exception):
    """The next try has to wait.

    Args:
        seconds: how long.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(f"wait for {seconds:.0f} s")
        self.seconds = seconds


class Tries:
    """Wrong tries of addresses, for names, and of all together.

    Args:
        clock: seconds that go by.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: OrderedDict[Key, _Wrong] = OrderedDict()  # the last to be wrong at the end
        self._lock = threading.Lock()

    def need_turn(self, keys: Iterable[Key]) -> None:
        """Refuse a try that comes too early.

        Raises:
            TooManyTries: it does.
        """
        now = self._clock()
        with self._lock:
            left = [wrong.at + wrong.wait(_LIMITS[key[0]]) - now for key in keys if (wrong := self._known.get(key))]
        if (longest := max(left, default=0.0)) > 0:
            raise TooManyTries(longest)

    def failed(self, keys: Iterable[Key]) -> None:
        """Note a wrong try."""
        now = self._clock()
        with self._lock:
            for key in keys:
                before = self._known.pop(key, None)
                is_recent = before is not None and now - before.at < _FORGOTTEN_AFTER
                self._known[key] = _Wrong(before.times + 1 if before and is_recent else 1, now)
            while len(self._known) > _MOST_KNOWN:
                self._known.popitem(last=False)

    def succeeded(self, keys: Iterable[Key]) -> None:
        """Forget the wrong tries of an address and a name, after a right one."""
        with self._lock:
            for key in keys:
                if key[0] != "all":
                    self._known.pop(key, None)


def keys_of(address: str | None, name: str) -> tuple[Key, ...]:
    """Say what a try counts for.

    Args:
        address: of the client, where it has one.
        name: that it tries, however long: its hash is kept.
    """
    return ("address", _network(address or "")), ("name", str(hash(name))), ("all", "")


def _network(address: str) -> str:
    try:
        found = ip_address(address)
    except ValueError:  # a Unix socket has none
        return address
    if isinstance(found, IPv6Address) and found.ipv4_mapped is None:
        return str(int(found) >> (128 - _NETWORK))
    return str(found)
