"""Runs of jobs: pairs the events that a run was submitted and that it ended.

APScheduler does not name the submission of an end, and sends both in any order. Services that add
``scheduled_run_time``, as this kit's client does, leave no doubt. For others an end belongs to the newest submission
before it without an end, so that a lost end does not spoil the runs after it. Pairs are computed anew for the
neighbourhood of each event, so that the result does not depend on the order in which events arrive.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import NamedTuple

from .codes import Code
from .tables import FAILED, MISSED, SUCCEEDED

OUTCOMES = {Code.JOB_EXECUTED: SUCCEEDED, Code.JOB_ERROR: FAILED, Code.JOB_MISSED: MISSED}

SKEW = timedelta(seconds=0.5)
"""A run may seem to end by so much before its submission: APScheduler sends a submission after it is made."""


class Mark(NamedTuple):
    """The submission of a run or, with an outcome, its end; ``log`` is the log entry of the event."""

    at: datetime
    outcome: str | None
    log: int | None


class Run(NamedTuple):
    """A run, as far as it is known."""

    start: Mark | None
    end: Mark | None

    @property
    def duration(self) -> timedelta | None:
        """The time from submission to end; None if one is missing, or the run was missed."""
        if self.start is None or self.end is None or self.end.outcome == MISSED:
            return None
        return max(self.end.at - self.start.at, timedelta())


def pair(marks: Iterable[Mark]) -> list[Run]:
    """Pair submissions and ends, by their times."""
    paired: list[Run] = []
    open_starts: list[Mark] = []
    lone_ends: list[Mark] = []
    for mark in sorted(marks, key=lambda mark: (mark.at, mark.outcome or "", mark.log or 0)):
        if mark.outcome is not None:
            if open_starts:
                paired.append(Run(open_starts.pop(), mark))
            else:
                lone_ends.append(mark)
        elif lone_ends and lone_ends[-1].at >= mark.at - SKEW:
            paired.append(Run(mark, lone_ends.pop()))
        else:
            open_starts.append(mark)
    return [*paired, *(Run(start, None) for start in open_starts), *(Run(None, end) for end in lone_ends)]
