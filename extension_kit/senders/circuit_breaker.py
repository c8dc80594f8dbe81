"""Lets a target rest that fails again and again, so that it does not use up what other targets could use."""

import random
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from extension_kit.senders import Result

_JITTER = 0.1


@dataclass(slots=True)
class _Failing:
    count: int = 0
    rests: int = 0
    until: float = 0.0
    probed: bool = False
    prober: Hashable = None
    others: bool = False  # have asked since the last probe
    yields_until: float = 0.0  # to them, who made the last probe


class Circuit:
    """Says which targets rest.

    A target that fails rests longer and longer. At the end of each rest one attempt is let through as a probe, the
    others wait for its result. Those who share a target take turns with it: a probe may fail because of who makes it.
    Only targets that fail are remembered.

    Args:
        failures: how many in a row send a target to rest.
        rest: seconds of the first rest; each further one is twice as long, and varied by up to a tenth.
        longest: seconds of the longest rest.
        limit: how many targets are remembered; those whose last failure is longest ago are forgotten first.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        failures: int = 5,
        rest: float = 10.0,
        longest: float = 600.0,
        limit: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._failures = failures
        self._rest = rest
        self._longest = longest
        self._limit = limit
        self._clock = clock
        self._targets: OrderedDict[Hashable, _Failing] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._targets)

    def wait(self, key: Hashable, by: Hashable = None, *, only_look: bool = False) -> float:
        """Say for how many seconds a target still rests; 0 lets the caller make its attempt, and ``record`` it.

        A probe that is never recorded, because its process died, is made up for after another rest.

        Args:
            key: the target.
            by: who asks, of those who share it.
            only_look: make no attempt yet.
        """
        with self._lock:
            target = self._targets.get(key)
            if target is None or target.count < self._failures:
                return 0.0
            now = self._clock()
            target.others = target.others or by != target.prober
            if now < target.until:
                # A probe may succeed at once: the others need not wait for the end of a rest that may never be.
                return min(target.until - now, self._rest) if target.probed else target.until - now
            if by == target.prober and target.others:
                target.others, target.yields_until = False, now + self._rest
            if by == target.prober and now < target.yields_until:
                return target.yields_until - now
            if not only_look:
                target.probed, target.prober, target.others = True, by, False
                target.until = now + self._length(target.rests)
            return 0.0

    def record(self, key: Hashable, result: Result) -> None:
        """Take note of how an attempt ended. A target that refuses is there: it need not rest."""
        with self._lock:
            if result != "failed":
                self._targets.pop(key, None)
                return
            target = self._targets.setdefault(key, _Failing())
            self._targets.move_to_end(key)
            if len(self._targets) > self._limit:
                self._targets.popitem(last=False)
            target.count += 1
            if target.count == self._failures or target.probed:  # else: it began before the rest did
                target.probed = False
                target.rests += 1
                target.until = self._clock() + self._length(target.rests)

    def _length(self, rests: int) -> float:
        length = min(self._rest * 2.0 ** min(rests - 1, 60), self._longest)
        return length * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311
