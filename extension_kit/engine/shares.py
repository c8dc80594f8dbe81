"""Fair shares: divides a worker's threads among listeners, so that slow listeners do not delay others."""

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

SLOW = 1.0
"""Seconds from which an attempt is slow."""

_REMEMBERED = 1000  # listeners that were quick, those that were slow, and tenants


class _Run(NamedTuple):
    listener: str
    since: float


class Shares:
    """The jobs in progress of a worker, by listener, and the speed of these listeners.

    * A listener is *quick* if its last attempt that ended its delivery took less than a second, and *slow* if an
      attempt took longer, or is taking longer now. A new listener gets a single thread until it is known.
    * Slow and new listeners together get half of the threads at most, and one of these is reserved for new listeners.
    * A listener gets no more threads than it leaves free: half if it is the only one, a third if there are two, and so
      on. It borrows the rest while no other listener has jobs, if it is quick or the only one, and if none of its
      attempts is past its timeout. A thread in use cannot be taken back, so other listeners get extra threads
      instead, up to half of the number of threads.
    * Tenants take turns, and the listeners of a tenant take turns within that. The slow and new listeners of a tenant
      leave as many threads of their half free as they use.

    Args:
        threads: the number of jobs done at the same time, without the extra threads.
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
        self._runs: dict[int, _Run] = {}  # the oldest first
        self._busy: dict[str, int] = {}
        self._quick: OrderedDict[str, None] = OrderedDict()
        self._slow: OrderedDict[str, None] = OrderedDict()
        self._tenants: dict[str, str] = {}
        self._last_tenant = ""
        self.has_tenants = False
        """True if a listener with a tenant is known."""
        self._last: OrderedDict[str, str] = OrderedDict()

    def __contains__(self, job_id: int) -> bool:
        return job_id in self._runs

    def __len__(self) -> int:
        return len(self._runs)

    @property
    def last(self) -> str:
        """The listener of the last job started, for the tenant of that job."""
        return self._last.get(self._last_tenant, "")

    def begin(self, job_id: int, listener: str) -> None:
        """Record that a job has begun."""
        self._runs[job_id] = _Run(listener, self._clock())
        self._busy[listener] = self._busy.get(listener, 0) + 1
        self._last_tenant = self._tenants.get(listener, "")
        _remember(self._last, self._last_tenant, listener)

    def end(self, job_id: int, *, for_good: bool) -> None:
        """Record that a job has ended; ``for_good`` is False if it is rescheduled."""
        run = self._runs.pop(job_id, None)
        if run is None:
            return
        self._busy[run.listener] -= 1
        if not self._busy[run.listener]:
            del self._busy[run.listener]
        self.learn(run.listener, self._clock() - run.since, for_good=for_good)

    def learn(self, listener: str, seconds: float, *, for_good: bool) -> None:
        """Record the seconds of an attempt; ``for_good`` is True if it ended its delivery."""
        if seconds >= SLOW:
            self._quick.pop(listener, None)
            _remember(self._slow, listener, None)
        elif for_good:  # else the circuit breaker of its target may be open
            self._slow.pop(listener, None)
            _remember(self._quick, listener, None)

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

    def look(self) -> "Outlook":
        """Return the listeners' shares at this moment."""
        abandoned, now = self._abandoned(), self._clock()
        busy, slow = dict(self._busy), set(abandoned)
        for listener, number in abandoned.items():
            busy[listener] = busy.get(listener, 0) + number
        becomes_slow = None
        for listener, since in self._runs.values():
            if now - since < SLOW:
                becomes_slow = since + SLOW - now
                break
            slow.add(listener)
        known = _Known(self._quick, self._slow, self._tenants)
        return Outlook(self.threads, busy, slow, abandoned, known, becomes_slow)


class _Known(NamedTuple):
    """Quick and slow listeners, and the tenants of listeners."""

    quick: Mapping[str, None]
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
        self._room = most(threads) if any(number > share for number in busy.values()) else threads
        self._share, self._share_of_others = share, max(threads // (len(busy) + 2), 1)
        self._used_of_half: dict[str, int] = {}
        for listener, number in busy.items():
            if not self._is_quick(listener):
                tenant = known.tenants.get(listener, "")
                used = self._used_of_half.get(tenant, 0)
                self._used_of_half[tenant] = used + min(number, self._slow_limit)
        self._used = sum(self._used_of_half.values())

    @property
    def is_full(self) -> bool:
        """True if only quick listeners may begin."""
        return self._used >= self._half

    @property
    def resting(self) -> frozenset[str]:
        """The known listeners that may not begin another attempt."""
        slow = self._known.slow if self._used >= self._slow_limit else ()
        return frozenset(listener for listener in (*self._busy, *slow) if not self.may_begin(listener))

    def may_begin(self, listener: str) -> bool:
        """Return True if a listener may begin another attempt within its share."""
        busy = self._busy.get(listener, 0)
        if self._total >= self._room or busy >= (self._share if busy else self._share_of_others):
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
    """Return the number of jobs that a worker does at the same time, with the extra threads of ``Shares``."""
    return threads + threads // 2


def _after(last: str, names: Iterable[str]) -> list[str]:
    """Sort names round robin: names after ``last`` come first."""
    return sorted(names, key=lambda name: (name <= last, name))


def _remember(names: "OrderedDict[str, str] | OrderedDict[str, None]", name: str, value: object) -> None:
    names[name] = value  # type: ignore[assignment]
    names.move_to_end(name)
    if len(names) > _REMEMBERED:
        names.popitem(last=False)
