"""Circuit breaker: pauses targets that keep failing, so that they do not use up the threads of other targets."""

import heapq
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from operator import itemgetter
from random import SystemRandom

from extension_kit.senders import Result

_JITTER = 0.1


@dataclass(slots=True)
class _FailingTarget:
    failures: int = 0  # in a row
    openings: int = 0
    open_until: float = 0.0
    probing: bool = False
    prober: Hashable = None
    others_waiting: bool = False  # since the last probe
    yields_until: float = 0.0  # the last prober leaves the next probe to the others


class CircuitBreaker:
    """Circuits by target. Thread-safe.

    A circuit opens after some failures in a row. After a wait, one attempt is let through as a probe while all others
    wait for its result; a failed probe opens the circuit again, for twice as long. Callers that share a target take
    turns with the probe, because it may fail for a reason of its caller alone. Only failing targets are remembered.

    Args:
        failures: number of failures in a row that open a circuit.
        first_wait: seconds of the first wait; each further one is twice as long, and varied by up to a tenth.
        max_wait: maximum seconds of a wait.
        limit: maximum number of remembered targets; those with the oldest last failure are forgotten first.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        failures: int = 5,
        first_wait: float = 10.0,
        max_wait: float = 600.0,
        limit: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._failures = failures
        self._first_wait = first_wait
        self._max_wait = max_wait
        self._limit = limit
        self._clock = clock
        self._targets: OrderedDict[Hashable, _FailingTarget] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._targets)

    def wait(self, key: Hashable, caller: Hashable = None, *, peek: bool = False) -> float:
        """Return the seconds to wait for a target; at 0 the caller may make its attempt and must ``record`` it.

        A probe that is never recorded, because its process died, is replaced after another wait.

        Args:
            key: the target.
            caller: one of the callers that share the target.
            peek: True if the caller does not make its attempt yet, and so does not become the probe.
        """
        with self._lock:
            target = self._targets.get(key)
            if target is None or target.failures < self._failures:
                return 0.0
            now = self._clock()
            target.others_waiting = target.others_waiting or caller != target.prober
            if now < target.open_until:
                # A probe may succeed soon, so the others do not wait for the whole time after which it is replaced.
                return min(target.open_until - now, self._first_wait) if target.probing else target.open_until - now
            if caller == target.prober and target.others_waiting:
                target.others_waiting, target.yields_until = False, now + self._first_wait
            if caller == target.prober and now < target.yields_until:
                return target.yields_until - now
            if not peek:
                target.probing, target.prober, target.others_waiting = True, caller, False
                target.open_until = now + self._wait_after(target.openings)
            return 0.0

    def record(self, key: Hashable, result: Result) -> None:
        """Record the result of an attempt. A refusal closes the circuit like a delivery: the target has answered."""
        with self._lock:
            if result != "failed":
                self._targets.pop(key, None)
                return
            target = self._targets.setdefault(key, _FailingTarget())
            self._targets.move_to_end(key)
            if len(self._targets) > self._limit:
                self._targets.popitem(last=False)
            target.failures += 1
            # Other failures are of attempts from before the opening, and must not prolong the wait.
            if target.failures == self._failures or target.probing:
                target.probing = False
                target.openings += 1
                target.open_until = self._clock() + self._wait_after(target.openings)

    def open_circuits(self, most: int) -> list[tuple[Hashable, float]]:
        """Return at most ``most`` targets with an open circuit, and the seconds until the next probe, longest first."""
        with self._lock:
            now = self._clock()
            waits = [
                (key, target.open_until - now)
                for key, target in self._targets.items()
                if target.failures >= self._failures and target.open_until > now
            ]
        return heapq.nlargest(most, waits, key=itemgetter(1))

    def _wait_after(self, openings: int) -> float:
        wait = min(self._first_wait * 2.0 ** min(openings - 1, 60), self._max_wait)
        return wait * SystemRandom().uniform(1 - _JITTER, 1 + _JITTER)
