"""What deliveries need of the engine, which they are handed: they do not know it."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from sqlalchemy import Connection, Select


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


class Chosen(NamedTuple):
    """A delivery that somebody has chosen: its number, and its lock, by which its job is found faster."""

    ref: int
    lock: str | None


class ByHand(Protocol):
    """Changes the jobs of deliveries, within the transaction of the connection; those that are being done stay."""

    def take_out(self, connection: Connection, chosen: Sequence[Chosen]) -> set[int]:
        """Take jobs that wait off the queue; return the deliveries of those that were."""

    def make_due(self, connection: Connection, chosen: Sequence[Chosen]) -> set[int]:
        """Let jobs wait for their time no more; return the deliveries of those that wait."""

    def hand_over(self, connection: Connection, old: str, new: str) -> int | None:
        """Make the jobs that wait for one listener those of another, before anything else in the transaction.

        Returns a delivery to the first one that is being attempted, in which case nothing is changed; else None.
        """

    def doing(self, connection: Connection) -> set[int]:
        """Return the deliveries that are being attempted."""

    def first_in_line(self, connection: Connection, locks: Collection[str]) -> dict[str, int]:
        """Find the delivery of each lock that the others wait for."""


class Queue(Defer, Protocol):
    """Knows which deliveries it has jobs for."""

    def without_job(self, connection: Connection, wanted: Select[tuple[int]], limit: int) -> list[int]:
        """Return those of the deliveries that a query finds for which there is no job: the first, so many at most."""

    def keep_filled(self, connection: Connection) -> None:
        """Keep others from filling the queue anew until the end of a transaction that writes."""

    def put_forward(self, connection: Connection, waits: Mapping[int, float]) -> None:
        """Have jobs that wait begin in so many seconds, by the numbers of their deliveries, unless they are due before.

        Within the transaction of the connection.
        """
