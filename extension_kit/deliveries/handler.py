"""Handlers: the contract between attempts and the functions or senders that make a delivery."""

import warnings
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection

from extension_kit.deliveries.retry import RetrySchedule
from extension_kit.senders import Outcome


class Due(NamedTuple):
    """The delivery of an attempt, with its event."""

    ref: int
    number: int  # of the attempt, from 1
    uncounted_attempts: int  # handed back, not ready, or before a replay
    listener: str
    created_at: datetime
    event_name: str
    event_id: str
    body: bytes
    source: str
    time: datetime | None
    subject: str | None
    series: str | None
    place: int | None  # in the series, from 1
    trace_context: str | None = None  # of the event, as its table has it

    @property
    def earlier(self) -> int:
        """Uncounted attempts. Deprecated: use ``uncounted_attempts``."""
        warnings.warn("Due.earlier is called Due.uncounted_attempts now", DeprecationWarning, stacklevel=2)
        return self.uncounted_attempts


class Handler(NamedTuple):
    """Makes the deliveries to a listener.

    ``make`` runs on a thread of its own, for at most ``timeout`` seconds. Of an async function, ``make_async`` does the
    same on an event loop, and a worker calls that. ``circuit_wait`` returns the
    seconds for which the target rests; until then no attempt is made or counted. If the target still rests at the end
    of the whole schedule, the delivery becomes a dead letter.
    """

    make: Callable[[Due], Outcome]
    schedule: RetrySchedule
    timeout: float
    circuit_wait: Callable[[], float] = lambda: 0.0
    make_async: Callable[[Due], Coroutine[Any, Any, Outcome]] | None = None


FindHandler = Callable[[str, Connection], Handler | None]
"""Finds the handler of a listener; None if the listener was removed: its deliveries are discarded."""
