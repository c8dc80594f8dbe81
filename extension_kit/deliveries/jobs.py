"""What deliveries need of the engine, which they are handed: they do not know it."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from sqlalchemy import Connection


class Job(NamedTuple):
    """What to do: attempts of a delivery.

    With a lock, they are made after those of all jobs with this lock that were added before. With a time, which has to
    be aware, not before it. Listeners take turns: the jobs of one do not wait for those of another that were added
    before.
    """

    delivery_ref: int
    lock: str | None
    due_at: datetime | None
    listener: str = ""


class Limited(NamedTuple):
    """A part of an attempt that may never return. It must not raise, and has so many seconds."""

    work: Callable[[], None]
    seconds: float


class Defer(Protocol):
    """Adds jobs."""

    def defer(self, connection: Connection, jobs: Sequence[Job]) -> None:
        """Add jobs within the transaction of the connection."""


class Rebuild(Protocol):
    """Fills the queue anew."""

    def rebuild(self, connection: Connection, jobs: Iterable[Job]) -> int:
        """Throw away the jobs that wait, add these instead, in this order, and say how many were added.

        ``jobs`` is read after others have been kept from adding any.
        """
