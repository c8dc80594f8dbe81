"""Who may begin an attempt: how a worker's threads are shared, so that nobody waits for those who are slow."""

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

SLOW = 1.0
"""Seconds after which an attempt is slow."""

_REMEMBERED = 1000  # listeners that were quick, those that were slow, and tenants


class _Run(NamedTuple):
    listener: str
    since: float


class Shares:
    """The jobs that a worker does, by the listeners that they are for, and what it knows of these.

    * A listener is *quick* if its last attempt that ended with its delivery took less than a second, and *slow* if one
      took longer, or does so just now. A new one gets a single thread until it is known.
    * Slow and new listeners together get half of the threads at most, and one of these is left to the new.
    * A listener gets no more than it leaves free: one alone half, of two each a third, and so on. It borrows the rest
      while nobody else has something to do, if it is quick, or alone, and all of its runs return. What it has borrowed
      others get beyond the number of threads, up to half as many: a thread that is in use cannot be taken away.
    * Tenants take turns, the listeners of each take turns within that. The slow and new listeners of a tenant leave as
      many of their half free as they use.

    Args:
        threads: how many jobs are done at the same time, but for what others get beyond that.
        abandoned: how many threads each listener keeps busy with what the worker has ceased to wait for.
        clock: seconds that never go back.
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
        """Whether there are listeners of several tenants, as far as is known."""
        self._last: OrderedDict[str, str] = OrderedDict()

    def __contains__(self, job_id: int) -> bool:
        return job_id in self._runs

    def __len__(self) -> int:
        return len(self._runs)

    @property
    def last(self) -> str:
        """The listener that had its turn last."""
        return self._last.get(self._last_tenant, "")

    def begin(self, job_id: int, listener: str) -> None:
        """Take note that a job has begun."""
        self._runs[job_id] = _Run(listener, self._clock())
        self._busy[listener] = self._busy.get(listener, 0) + 1
        self._last_tenant = self._tenants.get(listener, "")
        _remember(self._last, self._last_tenant, listener)

    def end(self, job_id: int, *, for_good: bool) -> None:
        """Take note that a job has ended, and whether it is done again later."""
        run = self._runs.pop(job_id, None)
        if run is None:
            return
        self._busy[run.listener] -= 1
        if not self._busy[run.listener]:
            del self._busy[run.listener]
        self.learn(run.listener, self._clock() - run.since, for_good=for_good)

    def learn(self, listener: str, seconds: float, *, for_good: bool) -> None:
        """Take note of how long an attempt took, and whether its delivery has ended by it."""
        if seconds >= SLOW:
            self._quick.pop(listener, None)
            _remember(self._slow, listener, None)
        elif for_good:  # else its target may just be at rest
            self._slow.pop(listener, None)
            _remember(self._quick, listener, None)

    def strangers(self, listeners: Iterable[str]) -> list[str]:
        """Those of which it is not known whose they are."""
        return [listener for listener in listeners if listener not in self._tenants]

    def introduce(self, tenants: Mapping[str, str]) -> None:
        """Take note of the tenants of listeners."""
        if len(self._tenants) > 10 * _REMEMBERED:
            self._tenants.clear()
        self._tenants.update(tenants)
        self.has_tenants = self.has_tenants or any(tenants.values())

    def in_turn(self, listeners: Iterable[str]) -> Iterator[str]:
        """Sort listeners: tenants in turn, and each with its listeners in turn."""
        by_tenant: dict[str, list[str]] = {}
        for listener in listeners:
            by_tenant.setdefault(self._tenants.get(listener, ""), []).append(listener)
        turns = [
            _after(self._last.get(tenant, ""), by_tenant[tenant]) for tenant in _after(self._last_tenant, by_tenant)
        ]
        for place in range(max(map(len, turns), default=0)):
            yield from (turn[place] for turn in turns if place < len(turn))

    def look(self) -> "Outlook":
        """See who may begin at the moment."""
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
    """Which listeners are quick, or slow, and whose they are."""

    quick: Mapping[str, None]
    slow: Mapping[str, None]
    tenants: Mapping[str, str]


class Outlook:
    """Who may begin at a moment.

    Args:
        threads: how many there are.
        busy: how many each listener keeps busy.
        slow: the listeners with something that is slow at the moment.
        abandoned: those with something that nobody waits for any more.
        known: what is known of listeners.
        becomes_slow: the seconds until the next attempt that is not slow yet will be; None without one.
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
        self._half = max(threads // 2, min(2, threads))  # of three two: else one that hangs would keep out what is new
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
        """Whether nobody may begin who is not known to be quick."""
        return self._used >= self._half

    @property
    def resting(self) -> frozenset[str]:
        """The listeners that may not begin, of those of which something is known."""
        slow = self._known.slow if self._used >= self._slow_limit else ()
        return frozenset(listener for listener in (*self._busy, *slow) if not self.may_begin(listener))

    def may_begin(self, listener: str) -> bool:
        """Whether a listener may begin another attempt."""
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
        """Whether a listener that may not begin by itself may do so while nobody else can."""
        if self._total >= self._threads or listener in self._abandoned:
            return False
        return self._busy.get(listener, 0) == self._total or self._is_quick(listener)

    def _is_quick(self, listener: str) -> bool:
        return listener in self._known.quick and listener not in self._slow


def most(threads: int) -> int:
    """How many jobs a worker of so many threads does at the same time, with those that others have borrowed."""
    return threads + threads // 2


def _after(last: str, names: Iterable[str]) -> list[str]:
    """Sort names so that those after the last one come first."""
    return sorted(names, key=lambda name: (name <= last, name))


def _remember(names: "OrderedDict[str, str] | OrderedDict[str, None]", name: str, value: object) -> None:
    names[name] = value  # type: ignore[assignment]
    names.move_to_end(name)
    if len(names) > _REMEMBERED:
        names.popitem(last=False)
