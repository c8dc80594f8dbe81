"""CPU times of functions in this process: all in turn, round by round, so that a slow moment hits every one of them.

CPU time, because other processes that use the machine lengthen it less than the time on the clock.
"""

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from timeit import Timer

_SAMPLE_SECONDS = 0.02


@dataclass(frozen=True)
class Case:
    """Something to time.

    Args:
        name: in tables.
        run: what is timed; its own call adds some 0.03 microseconds.
        operations: how many it stands for.
    """

    name: str
    run: Callable[[], object]
    operations: int = 1


def interleaved(cases: Sequence[Case], rounds: int) -> dict[str, list[float]]:
    """Microseconds an operation takes, in each round, by name."""
    timers = [(case, Timer(case.run, "gc.enable()", time.process_time, {"gc": gc})) for case in cases]
    repeats = {case.name: max(1, int(_SAMPLE_SECONDS / max(1e-9, timer.timeit(1)))) for case, timer in timers}
    repeats = {  # once more: the first call of anything is slow
        case.name: max(1, int(_SAMPLE_SECONDS * repeats[case.name] / timer.timeit(repeats[case.name])))
        for case, timer in timers
    }
    times: dict[str, list[float]] = {case.name: [] for case in cases}
    for _ in range(rounds):
        for case, timer in timers:
            count = repeats[case.name]
            times[case.name].append(timer.timeit(count) / count / case.operations * 1e6)
    return times


def ratio(slower: Sequence[float], faster: Sequence[float]) -> float:
    """How many times longer the first took: the median of the ratios within the rounds."""
    return median(one / other for one, other in zip(slower, faster, strict=True))
