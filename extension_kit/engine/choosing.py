"""Choosing: which ready deliveries of listeners with a share begin next, in the order of the turns of listeners."""

import time
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from extension_kit.engine.candidates import Candidate
from extension_kit.engine.shares import Outlook, Shares
from extension_kit.engine.windows import Windows


class Chosen(NamedTuple):
    """The first delivery of a new lane."""

    listener: str
    head: Candidate


class _Planned(NamedTuple):
    """A thread that a listener is going to use."""

    listener: str
    since: float


def choose(
    shares: Shares,
    windows: Windows,
    ready: Iterable[str],
    waiting: Mapping[str, int] | None,
    most: int,
    probed: Collection[str] = (),
) -> tuple[list[Chosen], list[Chosen], bool]:
    """Choose deliveries for free threads, and others for the time after the lanes of quick listeners.

    Args:
        shares: those of the listeners.
        windows: the deliveries.
        ready: the listeners, in the order of their turns.
        waiting: the number of lanes that have not begun, by listener; None: choose no others.
        most: the maximum number for free threads.
        probed: listeners of which one delivery is enough.

    Returns:
        Both, and True if there may be more of these listeners.
    """
    left = dict.fromkeys(ready)  # an ordered set
    planned: list[_Planned] = []
    chosen: list[Chosen] = []
    following: list[Chosen] = []
    slow = shares.slow_now()
    try:
        for may in (Outlook.may_begin, Outlook.may_borrow):
            number = -1
            while number < len(chosen):
                number = len(chosen)
                for listener in list(left):
                    if len(chosen) >= most or not may(shares.look(slow), listener):
                        continue
                    if (candidate := windows.take(listener)) is None:
                        del left[listener]
                        continue
                    chosen.append(Chosen(listener, candidate))
                    planned.append(_Planned(listener, time.monotonic()))
                    shares.begin(planned[-1])
                    if listener in probed:
                        del left[listener]
        if waiting is not None:
            following = [
                Chosen(listener, candidate)
                for listener in left
                if shares.is_quick(listener)
                for _ in range(shares.busy(listener) - waiting.get(listener, 0))
                if (candidate := windows.take(listener)) is not None
            ]
    finally:
        for each in planned:
            shares.end(each)
    return chosen, following, bool(left)
