"""Running attempts: a handler that exceeds its timeout keeps its thread, and the attempt goes on in another one."""

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
_STORE_PAUSE = 1.0  # seconds after an attempt without the database


class Retry(NamedTuple):
    """Time of the next attempt of a delivery, and its lock; None keeps the lock."""

    due_at: datetime
    lock: str | None = None


Again = datetime | Retry | None
"""Time of the next attempt; None if the delivery has ended."""

Steps = Generator[Limited, bool, Again]

Attempt = Callable[[int], Again | Steps]
"""Makes one attempt of the delivery with this ref, and returns the time of the next.

An attempt with a handler that may never return is a generator. It yields the call with its timeout, and is sent True
if the call returned in time. If not, it is resumed on another thread, because the first one may never be free again.
"""

Rest = Callable[[], bool]
"""Runs the remaining steps of an attempt; returns False if a replacement thread has taken over from the caller."""


class Making:
    """A running attempt: on one thread, or on several if it exceeds its timeout.

    Args:
        attempt: makes the attempt.
        delivery_ref: the delivery.
        earlier: the number of earlier runs of its job.
        within: returns the context of each step.
        tell: called with the time of the next attempt, or None if the delivery has ended.
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
        """Run the attempt, or its remaining steps.

        Args:
            watch: the deadlines.
            replace: runs the remaining steps on a replacement thread.
            in_time: True if the last call returned in time, False if not; None at the start.

        Returns:
            False if a replacement thread has taken over, because the attempt timed out.
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
            logger.warning("Attempt of delivery %d repeated: %s", self._ref, error)
            return Retry(_in_seconds(_STORE_PAUSE))
        except BaseException:
            pause = min(2.0 ** min(self._earlier, 20), _LONGEST_PAUSE)
            logger.exception("Unhandled exception in the attempt of delivery %d, retry in %g s", self._ref, pause)
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
        raise ValueError(f"the time of the next attempt needs a time zone: {retry.due_at}")
    return retry


def _in_seconds(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)
