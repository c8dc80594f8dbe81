"""Contracts between deliveries and the engine: deliveries call the engine through these protocols only."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from sqlalchemy import Connection, Select


class Job(NamedTuple):
    """A request to make the attempts of a delivery.

    A job with a lock starts after all jobs with this lock that were added before. A job with a time (aware) does not
    start before it. Listeners take turns: the jobs of one do not wait for earlier jobs of another.
    """

    delivery_ref: int
    lock: str | None
    due_at: datetime | None
    listener: str = ""


class Limited(NamedTuple):
    """A part of an attempt that may never return. It must not raise. ``seconds`` is its timeout."""

    work: Callable[[], None]
    seconds: float


class Defer(Protocol):
    """Adds jobs."""

    def defer(self, connection: Connection, jobs: Sequence[Job]) -> None:
        """Add jobs within the transaction of the connection."""


class Rebuild(Protocol):
    """Fills the queue anew."""

    def rebuild(self, connection: Connection, jobs: Iterable[Job]) -> int:
        """Replace the waiting jobs by ``jobs``, in this order, and return their number.

        ``jobs`` is iterated only after other transactions have been kept from adding jobs.
        """


class Chosen(NamedTuple):
    """A delivery chosen by a user: its number, and its lock, by which its job is found faster."""

    ref: int
    lock: str | None


class ByHand(Protocol):
    """Changes jobs on request of users, within the transaction of the connection. Jobs in progress are left alone."""

    def take_out(self, connection: Connection, chosen: Sequence[Chosen]) -> set[int]:
        """Take waiting jobs off the queue; return their deliveries."""

    def make_due(self, connection: Connection, chosen: Sequence[Chosen]) -> set[int]:
        """Make waiting jobs due now; return their deliveries."""

    def hand_over(self, connection: Connection, old: str, new: str) -> int | None:
        """Move the waiting jobs of listener ``old`` to ``new``. Call it before anything else in the transaction.

        Returns a delivery to ``old`` that is being attempted, in which case nothing is changed; else None.
        """

    def doing(self, connection: Connection) -> set[int]:
        """Return the deliveries that are being attempted."""

    def first_in_line(self, connection: Connection, locks: Collection[str]) -> dict[str, int]:
        """Return the first delivery of each lock: the others wait for it."""


class Queue(Defer, Protocol):
    """The engine's queue of jobs."""

    def without_job(self, connection: Connection, wanted: Select[tuple[int]], limit: int) -> list[int]:
        """Return the deliveries of a query that have no job: the first ``limit`` of them."""

    def keep_filled(self, connection: Connection) -> None:
        """Keep others from rebuilding the queue until the transaction ends. Call it in a transaction that writes."""

    def put_forward(self, connection: Connection, waits: Mapping[int, float]) -> None:
        """Make waiting jobs due in ``waits`` (delivery ref -> seconds), unless they are due before.

        Works within the transaction of the connection.
        """
