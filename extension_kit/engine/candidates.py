"""Candidates: deliveries that a worker may claim, and those behind others with their lock, as the queue finds them."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple


class Candidate(NamedTuple):
    """A delivery that may be claimed.

    Attributes:
        ref: its number.
        lock: its lock; None without one.
        losses: the number of its last claims, in a row, that were lost with their process.
        size: bytes of its event's body.
        head: the first waiting delivery with its lock, which all others wait for; itself without a lock.
    """

    ref: int
    lock: str | None
    losses: int
    size: int
    head: int


class Follower(NamedTuple):
    """A waiting delivery behind others with its lock.

    Attributes:
        ref: its number.
        lock: its lock.
        is_due: False if it has to wait for its time.
        losses: the number of its last claims, in a row, that were lost with their process.
        size: bytes of its event's body.
    """

    ref: int
    lock: str
    is_due: bool
    losses: int
    size: int


def by_listener(rows: Iterable[Sequence[Any]]) -> dict[str, list[Candidate]]:
    """Return candidates by listener, from rows that begin with the listener."""
    found: dict[str, list[Candidate]] = {}
    for listener, *row in rows:
        found.setdefault(listener, []).append(Candidate(*row))
    return found


class Line(NamedTuple):
    """A part of the deliveries with one lock: at most ``number``, those after ``after``."""

    lock: str
    after: int
    number: int
