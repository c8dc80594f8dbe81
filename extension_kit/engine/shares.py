"""Fair shares: divides a worker's threads among listeners, so that slow listeners do not delay others."""

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import NamedTuple, Protocol, TypeVar

T = TypeVar("T")

SLOW = 1.0
"""Seconds from which an attempt is slow."""

_REMEMBERED = 1000  # listeners that were quick, those that were slow, and tenants


class Run(Protocol):
    """A thread in use by a listener, with an attempt that began at ``since``, in seconds of the monotonic clock."""

    @property
    def listener(self) -> str:
        """The listener."""

    @property
    def since(self) -> float:
        """The time."""


class Shares:
    """The threads of a worker in use, by listener, and the speed of these listeners.

    * A listener is *quick* if its last attempt that ended its delivery took less than a second, and *slow* if an
      attempt took longer, or is taking longer now. A new listener gets a single thread until it is known.
    * Slow and new listeners together get half of the threads at most, and one of these is reserved for new listeners.
    * A listener gets no more threads than it leaves free: half if it is the only one, a third if there are two, and so
      on. It borrows the rest while no other listener has deliveries, if it is quick or the only one, and if none of its
      attempts is past its timeout. A thread in use cannot be taken back, so other listeners get extra threads
      instead, up to half of the number of threads; so they do if attempts that became slow use more than half.
    * Tenants take turns, and the listeners of a tenant take turns within that. The slow and new listeners of a tenant
      leave as many threads of their half free as they use.

    Args:
        threads: the number of threads, without the extra ones.
        abandoned: returns the number of threads that each listener keeps busy with attempts past their timeout.
        clock: returns seconds of a monotonic clock.
    """

    def __init__(
        self, threads: int, abandoned: Callable[[], Counter[str]] = Counter, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.threads = threads
        self.most = most(threads)
        self._abandoned = abandoned
        self._clock = clock
        self._runs: dict[int, Run] = {}
        self._busy: dict[str, int] = {}
        self._quick: OrderedDict[str, float] = OrderedDict()  # seconds of the last attempt
        self._slow: OrderedDict[str, None] = OrderedDict()
        self._tenants: dict[str, str] = {}
        self._last_tenant = ""
        self.has_tenants = False
        """True if a listener with a tenant is known."""
        self._last: OrderedDict[str, str] = OrderedDict()

    def begin(self, run: Run) -> None:
        """Record that a listener uses a thread."""
        self._runs[id(run)] = run
        self._busy[run.listener] = self._busy.get(run.listener, 0) + 1
        self._last_tenant = self._tenants.get(run.listener, "")
        _remember(self._last, self._last_tenant, run.listener)

    def end(self, run: Run) -> None:
        """Record that a listener does not use a thread any more."""
        if self._runs.pop(id(run), None) is not None:
            self._busy[run.listener] -= 1
            if not self._busy[run.listener]:
                del self._busy[run.listener]

    def busy(self, listener: str) -> int:
        """Return the number of threads that a listener uses."""
        return self._busy.get(listener, 0)

    @property
    def in_use(self) -> int:
        """The number of threads in use; from any thread."""
        return len(self._runs)

    def is_quick(self, listener: str) -> bool:
        """Return True if the last attempts of a listener were quick."""
        return listener in self._quick and listener not in self._slow

    def attempts_within(self, seconds: float, listener: str) -> int:
        """Return how many attempts of a quick listener take so long, if they are like the last one; at least 1."""
        last = self._quick.get(listener, SLOW)
        return max(int(seconds / max(last, 1e-6)), 1)

    def learn(self, listener: str, seconds: float, *, for_good: bool) -> None:
        """Record the seconds of an attempt; ``for_good`` is True if it ended its delivery."""
        if seconds >= SLOW:
            self._quick.pop(listener, None)
            _remember(self._slow, listener, None)
        elif for_good:  # else the circuit breaker of its target may be open
            self._slow.pop(listener, None)
            _remember(self._quick, listener, seconds)

    def strangers(self, listeners: Iterable[str]) -> list[str]:
        """Return the listeners without a known tenant."""
        return [listener for listener in listeners if listener not in self._tenants]

    def introduce(self, tenants: Mapping[str, str]) -> None:
        """Record the tenants of listeners."""
        if len(self._tenants) > 10 * _REMEMBERED:
            self._tenants.clear()
        self._tenants.update(tenants)
        self.has_tenants = self.has_tenants or any(tenants.values())

    def in_turn(self, listeners: Iterable[str]) -> Iterator[str]:
        """Sort listeners round robin: tenants in turn, and the listeners of each tenant in turn."""
        by_tenant: dict[str, list[str]] = {}
        for listener in listeners:
            by_tenant.setdefault(self._tenants.get(listener, ""), []).append(listener)
        turns = [
            _after(self._last.get(tenant, ""), by_tenant[tenant]) for tenant in _after(self._last_tenant, by_tenant)
        ]
        for place in range(max(map(len, turns), default=0)):
            yield from (turn[place] for turn in turns if place < len(turn))

    def slow_now(self) -> "SlowNow":
        """Return the listeners with a slow attempt in progress."""
        now, slow, becomes_slow = self._clock(), set(), None
        for run in self._runs.values():
            left = run.since + SLOW - now
            if left <= 0:
                slow.add(run.listener)
            elif becomes_slow is None or left < becomes_slow:
                becomes_slow = left
        return SlowNow(slow, becomes_slow)

    def look(self, slow_now: "SlowNow | None" = None) -> "Outlook":
        """Return the listeners' shares at this moment; ``slow_now`` was read shortly before, if many looks follow."""
        abandoned = self._abandoned()
        busy = dict(self._busy)
        for listener, number in abandoned.items():
            busy[listener] = busy.get(listener, 0) + number
        slow, becomes_slow = slow_now or self.slow_now()
        known = _Known(self._quick, self._slow, self._tenants)
        return Outlook(self.threads, busy, {*slow, *abandoned}, abandoned, known, becomes_slow)


class SlowNow(NamedTuple):
    """Listeners with a slow attempt in progress, and the seconds until the next one becomes slow; None without one."""

    listeners: Collection[str]
    becomes_slow: float | None


class _Known(NamedTuple):
    """Quick and slow listeners, and the tenants of listeners."""

    quick: Mapping[str, float]
    slow: Mapping[str, None]
    tenants: Mapping[str, str]


class Outlook:
    """The shares at one moment: decides for each listener if it may begin another attempt.

    Args:
        threads: the number of threads.
        busy: the number of busy threads, by listener.
        slow: the listeners with a slow attempt in progress.
        abandoned: the listeners with an attempt past its timeout.
        known: earlier attempts of listeners, and their tenants.
        becomes_slow: seconds until the next running attempt becomes slow; None without one.
    """

    def __init__(
        self,
        threads: int,
        busy: Mapping[str, int],
        slow: Collection[str],
        abandoned: Collection[str],
        known: _Known,
        becomes_slow: float | None,
    ) -> None:
        self.becomes_slow = becomes_slow
        self._threads = threads
        self._busy = busy
        self._slow = slow
        self._abandoned = abandoned
        self._known = known
        self._total = sum(busy.values())
        self._half = max(threads // 2, min(2, threads))  # two of three: a hanging attempt must not block new listeners
        self._slow_limit = max(self._half - 1, 1)
        share = max(threads // (len(busy) + 1), 1)
        self._share, self._share_of_others = share, max(threads // (len(busy) + 2), 1)
        self._used_of_half: dict[str, int] = {}
        for listener, number in busy.items():
            if not self._is_quick(listener):
                tenant = known.tenants.get(listener, "")
                used = self._used_of_half.get(tenant, 0)
                self._used_of_half[tenant] = used + min(number, self._slow_limit)
        self._used = sum(self._used_of_half.values())
        is_crowded = any(number > share for number in busy.values()) or self._used > self._half
        self._room = most(threads) if is_crowded else threads

    @property
    def has_room(self) -> bool:
        """True if any listener may begin."""
        return self._total < self._room

    @property
    def is_full(self) -> bool:
        """True if only quick listeners may begin."""
        return self._used >= self._half

    def may_begin(self, listener: str) -> bool:
        """Return True if a listener may begin another attempt within its share."""
        busy = self._busy.get(listener, 0)
        if not self.has_room or busy >= (self._share if busy else self._share_of_others):
            return False
        if self._is_quick(listener):
            return True
        tenant = self._known.tenants.get(listener, "")
        if tenant and self._used_of_half.get(tenant, 0) >= self._half - self._used:
            return False
        if listener in self._known.slow or listener in self._slow:
            return self._used < self._slow_limit
        return busy == 0 and not self.is_full

    def may_borrow(self, listener: str) -> bool:
        """Return True if a listener may begin an attempt beyond its share, while no other listener can begin one."""
        if self._total >= self._threads or listener in self._abandoned:
            return False
        return self._busy.get(listener, 0) == self._total or self._is_quick(listener)

    def _is_quick(self, listener: str) -> bool:
        return listener in self._known.quick and listener not in self._slow


def most(threads: int) -> int:
    """Return the number of deliveries that a worker makes at the same time, with the extra threads of ``Shares``."""
    return threads + threads // 2


def _after(last: str, names: Iterable[str]) -> list[str]:
    """Sort names round robin: names after ``last`` come first."""
    return sorted(names, key=lambda name: (name <= last, name))


def _remember(names: OrderedDict[str, T], name: str, value: T) -> None:
    names[name] = value
    names.move_to_end(name)
    if len(names) > _REMEMBERED:
        names.popitem(last=False)
