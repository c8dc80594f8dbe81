"""Jobs: the state of one, and how an event changes it, in any order of arrival.

Each value of a job is kept with the time of the event that set it, and an earlier event does not change it. For an
event without a time, the time of its arrival counts.
"""

from datetime import datetime
from typing import NamedTuple

from .codes import EXECUTION, Code
from .payload import Posted

# Of events at the same time: a job ends after it was submitted.
_RANKS = {Code.JOB_SUBMITTED: 0, Code.JOB_MAX_INSTANCES: 1}
_LAST_RANK = 2


class Job(NamedTuple):
    """A job: the columns of its row that events change, as ``tables`` explains them."""

    scheduler: str
    job_id: str
    is_active: bool
    task: str | None
    is_active_at: datetime | None
    seen_at: datetime
    next_run: datetime | None = None
    next_run_at: datetime | None = None
    last_code: int | None = None
    last_at: datetime | None = None
    running_since: datetime | None = None
    usual_seconds: float | None = None
    lost_since: datetime | None = None

    def after(self, posted: Posted, now: datetime) -> "Job":
        """Return the job as it is after an event.

        Args:
            posted: an event of this job.
            now: when it arrived, aware.
        """
        at = posted.time or now
        job = self._replace(seen_at=now)
        if posted.code in (Code.JOB_ADDED, Code.JOB_REMOVED) and not _is_older(at, self.is_active_at):
            job = job._replace(is_active=posted.code is Code.JOB_ADDED, is_active_at=at)
            if posted.code is Code.JOB_ADDED:
                job = job._replace(task=posted.task)
        if self.task is None and posted.task is not None:
            job = job._replace(task=posted.task)
        if posted.code in EXECUTION and not self._is_before(posted.code, at):
            job = job._replace(last_code=int(posted.code), last_at=at)
        # The event of an added job may be late: without a time it does not overwrite values of a submission.
        is_vague = posted.code is Code.JOB_ADDED and posted.time is None and self.next_run_at is not None
        if posted.says_next_run and not is_vague and not _is_older(at, self.next_run_at):
            job = job._replace(next_run=posted.next_run, next_run_at=at)
        return job

    def without_scheduler_jobs(self, at: datetime) -> "Job":
        """Return the job as it is after its scheduler has removed all its jobs, at a time; if added later, it stays."""
        if not self.is_active or (self.is_active_at is not None and self.is_active_at > at):
            return self
        return self._replace(is_active=False, is_active_at=at)

    def _is_before(self, code: Code, at: datetime) -> bool:
        if self.last_at is None or self.last_code is None:
            return False
        return (at, _rank(code)) < (self.last_at, _rank(Code(self.last_code)))


def _is_older(at: datetime, known: datetime | None) -> bool:
    return known is not None and at < known


def _rank(code: Code) -> int:
    return _RANKS.get(code, _LAST_RANK)
