"""Lane: claimed deliveries that are made one after the other, and notes about them for the scribe."""

import time
from collections import deque
from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from extension_kit.deliveries.claims import Claim, End
from extension_kit.deliveries.handler import Handler
from extension_kit.observability.attempt_scope import AttemptScope


class Job(NamedTuple):
    """A claimed delivery, and its handler; None if its listener is gone."""

    claim: Claim
    handler: Handler | None


class Running(NamedTuple):
    """An attempt in progress."""

    job: Job
    started_at: datetime


class Lane:
    """Claimed deliveries of a listener that are made one after the other: all those of a lock, or one without a lock.

    Args:
        jobs: the deliveries, in their order; at least one.
    """

    def __init__(self, jobs: Iterable[Job]) -> None:
        self.jobs = deque(jobs)
        first = self.jobs[0].claim
        self.listener, self.lock = first.due.listener, first.lock
        self.last_ref = self.jobs[-1].claim.due.ref
        self.made = 0
        self.since = time.monotonic()
        """When the attempt in progress began, or the last one ended, by ``time.monotonic()``."""
        self.running: Running | None = None
        self.scope: AttemptScope | None = None
        """The scope of the attempt in progress, or of the last one."""
        self.is_closed = False
        self.is_broken = False
        """True if it has closed before its last delivery, which those behind it have to wait for."""
        self.has_begun = False
        handler = self.jobs[0].handler
        self.is_async = handler is not None and handler.make_async is not None
        """True if its attempts are made on the event loop of async functions."""

    def claims(self) -> list[Claim]:
        """Return the claims that have not ended."""
        running = self.running
        return [each.claim for each in ((running.job,) if running else ())] + [each.claim for each in self.jobs]


class Note(NamedTuple):
    """News of a lane: an attempt has ended, claims are given up, the lane has begun or closed.

    ``busy`` is the number of other threads that go on, if the lane's thread has nothing more to do.
    """

    lane: Lane
    end: End | None = None
    given_up: tuple[Claim, ...] = ()
    has_begun: bool = False
    has_closed: bool = False
    busy: int | None = None
