"""An attempt that is being made: what it does itself, and what it leaves to others because it may never return."""

import logging
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import NamedTuple

from extension_kit.deliveries.contracts import Limited
from extension_kit.engine.watch import Watch
from extension_kit.errors import StoreError

logger = logging.getLogger("extension_kit.engine")

_LONGEST_PAUSE = 3600.0  # seconds after an attempt that raised
_STORE_PAUSE = 1.0  # seconds after an attempt for which the database was not there


class Retry(NamedTuple):
    """When a delivery is to be attempted again, and under which lock if not under its own."""

    due_at: datetime
    lock: str | None = None


Again = datetime | Retry | None
"""When to make the next attempt; None when the delivery has ended."""

Steps = Generator[Limited, bool, Again]

Attempt = Callable[[int], Again | Steps]
"""Makes one attempt of the delivery of this number, and says when to make the next.

One that does what may never return is a generator, which leaves that to others: it yields it, and is sent whether it
has returned in time. If not, it is resumed on another thread, because the one it was on may be lost.
"""

Rest = Callable[[], bool]
"""What is left of an attempt; it returns False where another thread has taken the place of the one that called it."""


class Making:
    """An attempt that is being made: on one thread, or on several if it takes too long.

    Args:
        attempt: makes it.
        delivery_ref: of this delivery.
        earlier: how often its job was done before.
        within: makes the context in which each of its steps is made.
        tell: told when the next is to be made, or None when the delivery has ended.
    """

    def __init__(
        self,
        attempt: Attempt,
        delivery_ref: int,
        earlier: int,
        within: Callable[[], AbstractContextManager[None]],
        tell: Callable[[Retry | None], None],
    ) -> None:
        self._attempt = attempt
        self._ref = delivery_ref
        self._earlier = earlier
        self._within = within
        self._tell = tell
        self._steps: Steps

    def go_on(self, watch: Watch, replace: Callable[[Rest], None], *, in_time: bool | None = None) -> bool:
        """Make the attempt, or what is left of it.

        Args:
            watch: finds out what is late.
            replace: has the rest done by a thread that takes the place of this one.
            in_time: whether what the attempt has left to others has returned in time; None at the beginning.

        Returns:
            False where another thread has taken the place of this one.
        """
        step = self._step(in_time)
        while isinstance(step, Limited):
            token = watch.begin(step.seconds, partial(replace, partial(self.go_on, watch, replace, in_time=False)))
            step.work()
            if not watch.end(token):
                return False
            step = self._step(True)
        self._tell(step)
        return True

    def _step(self, in_time: bool | None) -> Limited | Retry | None:
        try:
            with self._within():
                return self._advance(in_time)
        except StoreError as error:
            logger.warning("The attempt of delivery %d is made again: %s", self._ref, error)
            return Retry(_in_seconds(_STORE_PAUSE))
        except BaseException:
            pause = min(2.0 ** min(self._earlier, 20), _LONGEST_PAUSE)
            logger.exception("The attempt of delivery %d raised, and is made again in %g s", self._ref, pause)
            return Retry(_in_seconds(pause))

    def _advance(self, in_time: bool | None) -> Limited | Retry | None:
        if in_time is None:
            made = self._attempt(self._ref)
            if not isinstance(made, Generator):
                return _checked(made)
            self._steps = made
        try:
            return next(self._steps) if in_time is None else self._steps.send(in_time)
        except StopIteration as end:
            return _checked(end.value)


def _checked(again: datetime | Retry | None) -> Retry | None:
    retry = Retry(again) if isinstance(again, datetime) else again
    if retry is not None and retry.due_at.utcoffset() is None:
        raise ValueError(f"to try again at {retry.due_at} says nothing without a time zone")
    return retry


def _in_seconds(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)
