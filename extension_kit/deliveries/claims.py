"""Claims: deliveries that a worker has taken to make attempts, and how these end.

A claim lasts from the transaction that takes a delivery to the one that ends it, hands it back or takes it over from a
process that died.
"""

from datetime import datetime
from typing import NamedTuple

from extension_kit.deliveries.handler import Due
from extension_kit.senders import Outcome


class Claim(NamedTuple):
    """A claimed delivery.

    Attributes:
        due: the delivery, with the number of the attempt to be made.
        lock: its lock, if it has one.
        shard: its shard.
        claimed_at: the time of the claim, by which an end finds out if the claim still holds.
        losses: the number of claims before this one, in a row, that were lost with their process.
        first_attempt_at: the time of the first attempt of the schedule; None: none was made.
        error: of the last attempt.
    """

    due: Due
    lock: str | None
    shard: int
    claimed_at: datetime
    losses: int
    first_attempt_at: datetime | None
    error: str | None


class Attempt(NamedTuple):
    """Row of an attempt: its time and its outcome; ``result`` may be one that no outcome has."""

    started_at: datetime
    ended_at: datetime
    result: str
    outcome: Outcome | None = None
    error: str | None = None


class End(NamedTuple):
    """The end of a claim: the new values of the delivery.

    Attributes:
        claim: the claim.
        status: the delivery's status; ``waiting`` until the next attempt.
        at: the time of the end.
        due_at: the time of the next attempt; None: unchanged.
        error: of the delivery.
        attempt: its attempt; None: no attempt was made.
        counts: True if the attempt counts in the retry schedule.
        begins: True if the time of the retry schedule runs from this end on, unless it did before.
        losses: as in the claim.
        result: for the metrics; None: nothing to count.
        seconds: the time that the attempt took; None: unknown.
    """

    claim: Claim
    status: str
    at: datetime
    due_at: datetime | None = None
    error: str | None = None
    attempt: Attempt | None = None
    counts: bool = True
    losses: int = 0
    result: str | None = None
    seconds: float | None = None
    begins: bool = True
