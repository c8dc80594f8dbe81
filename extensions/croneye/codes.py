"""Event codes of APScheduler 3, and the names of the events published for them."""

from enum import IntEnum
from typing import Any


class Code(IntEnum):
    """The event codes of APScheduler 3 (``apscheduler.events``), which services post as ``event_code``."""

    SCHEDULER_STARTED = 1
    SCHEDULER_SHUTDOWN = 2
    SCHEDULER_PAUSED = 4
    SCHEDULER_RESUMED = 8
    EXECUTOR_ADDED = 16
    EXECUTOR_REMOVED = 32
    JOBSTORE_ADDED = 64
    JOBSTORE_REMOVED = 128
    ALL_JOBS_REMOVED = 256
    JOB_ADDED = 512
    JOB_REMOVED = 1024
    JOB_MODIFIED = 2048
    JOB_EXECUTED = 4096
    JOB_ERROR = 8192
    JOB_MISSED = 16384
    JOB_SUBMITTED = 32768
    JOB_MAX_INSTANCES = 65536

    @property
    def constant(self) -> str:
        """The code's name in APScheduler and CronEye's dashboards, such as ``EVENT_JOB_ERROR``."""
        return f"EVENT_{self.name}"

    @property
    def event_name(self) -> str:
        """The name of the event published for this code, such as ``croneye.job.error``."""
        return EVENT_NAMES[self]

    @classmethod
    def of(cls, value: Any) -> "Code | None":
        """Return the code of an ``event_code``, or None if it is unknown.

        CronEye compares as Python does, so ``true`` and ``1.0`` are 1, and ``"1"`` is unknown.
        """
        if not isinstance(value, int | float):
            return None
        try:
            return cls(value)  # type: ignore[arg-type]  # 1.0 == 1
        except ValueError:
            return None


EVENT_NAMES = {
    Code.SCHEDULER_STARTED: "croneye.scheduler.started",
    Code.SCHEDULER_SHUTDOWN: "croneye.scheduler.shutdown",
    Code.SCHEDULER_PAUSED: "croneye.scheduler.paused",
    Code.SCHEDULER_RESUMED: "croneye.scheduler.resumed",
    Code.EXECUTOR_ADDED: "croneye.executor.added",
    Code.EXECUTOR_REMOVED: "croneye.executor.removed",
    Code.JOBSTORE_ADDED: "croneye.jobstore.added",
    Code.JOBSTORE_REMOVED: "croneye.jobstore.removed",
    Code.ALL_JOBS_REMOVED: "croneye.scheduler.all-jobs-removed",
    Code.JOB_ADDED: "croneye.job.added",
    Code.JOB_REMOVED: "croneye.job.removed",
    Code.JOB_MODIFIED: "croneye.job.modified",
    Code.JOB_EXECUTED: "croneye.job.executed",
    Code.JOB_ERROR: "croneye.job.error",
    Code.JOB_MISSED: "croneye.job.missed",
    Code.JOB_SUBMITTED: "croneye.job.submitted",
    Code.JOB_MAX_INSTANCES: "croneye.job.max-instances",
}

OVERDUE = "croneye.job.overdue"
"""Event name of an overdue job: no service posts this event."""

LOST = "croneye.job.lost"
"""Event name of a lost run, which began but has no known end: no service posts this event."""

SCHEDULER = frozenset({Code.SCHEDULER_STARTED, Code.SCHEDULER_SHUTDOWN, Code.SCHEDULER_PAUSED, Code.SCHEDULER_RESUMED})
"""Codes of events about the status of a scheduler."""

EXECUTION = frozenset({Code.JOB_SUBMITTED, Code.JOB_MAX_INSTANCES, Code.JOB_EXECUTED, Code.JOB_ERROR, Code.JOB_MISSED})
"""Codes of CronEye's execution events: submitted, executed, failed, missed, or still running."""

JOB = EXECUTION | {Code.JOB_ADDED, Code.JOB_REMOVED, Code.JOB_MODIFIED}
"""Codes of events about one job."""
