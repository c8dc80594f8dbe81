"""What CronEye is told of an event of APScheduler."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from apscheduler.events import (
    EVENT_JOB_ADDED,
    EVENT_JOB_ERROR,
    EVENT_JOB_EXECUTED,
    EVENT_JOB_MAX_INSTANCES,
    EVENT_JOB_MISSED,
    EVENT_JOB_MODIFIED,
    EVENT_JOB_REMOVED,
    EVENT_JOB_SUBMITTED,
)

_SUBMISSIONS = EVENT_JOB_SUBMITTED | EVENT_JOB_MAX_INSTANCES
_FAILURES = EVENT_JOB_ERROR | EVENT_JOB_MISSED
_EXECUTIONS = EVENT_JOB_EXECUTED | _FAILURES
DESCRIBED = EVENT_JOB_ADDED | EVENT_JOB_MODIFIED | _SUBMISSIONS
"""Mask of the events for which the job's name and next run are wanted."""
_OF_JOBS = DESCRIBED | EVENT_JOB_REMOVED | _EXECUTIONS

_CUT = "…"
MIN_TEXT_BYTES = 64


def payloads(event: Any, scheduler_name: str, moment: int, job: Any = None, limit: int = 8192) -> list[dict[str, Any]]:
    """Describe an event as CronEye documents it (CronEye, docs/event_listener.md, "Payload").

    CronEye finds the scheduler of a job by the name of the job store, so both are the name of the scheduler here; the
    document calls the key ``job_store``, the server reads ``jobstore``. Beyond the document, every event says whose it
    is and when it happened, because it may arrive late; and a run says when it was due (``scheduled_run_time``), by
    which the events of runs at the same time can be told apart. Servers ignore keys that they do not know.

    Args:
        event: of ``apscheduler.events``.
        scheduler_name: what CronEye calls the scheduler.
        moment: when the event happened, in milliseconds since 1970 (UTC), as are all times in the result.
        job: the job, where it is known.
        limit: bytes of UTF-8 that each text has at most.

    Returns:
        One payload; for a submission of several runs of a job, one for each run.
    """
    code = event.code
    payload: dict[str, Any] = {"event_code": code, "alias": scheduler_name, "time": moment}
    if not code & _OF_JOBS:
        return [payload]
    job_id = _text(event.job_id, limit)
    payload |= {"job_store": scheduler_name, "jobstore": scheduler_name, "job_id": job_id}
    if code & DESCRIBED and job is not None:
        payload["task"] = _text(job.name, limit)
        payload["next_scheduled_run_time"] = _milliseconds(getattr(job, "next_run_time", None))
    elif code == EVENT_JOB_ADDED:  # it must have a name; with others, the id would replace the right one
        payload["task"] = job_id
    elif code & _SUBMISSIONS:
        payload["next_scheduled_run_time"] = None
    if code & _SUBMISSIONS:
        return [payload | {"scheduled_run_time": _milliseconds(due)} for due in event.scheduled_run_times]
    if code & _EXECUTIONS:
        payload["scheduled_run_time"] = _milliseconds(event.scheduled_run_time)
    if code == EVENT_JOB_EXECUTED:
        payload["return_value"] = _text(event.retval, limit)
    elif code & _FAILURES:
        payload["exception"] = _text(event.exception, limit, repr)
        payload["traceback"] = _text(event.traceback, limit, keep_end=True)  # it ends where the exception was raised
    return [payload]


def _milliseconds(time: datetime | None) -> int | None:
    return None if time is None else round(time.timestamp() * 1000)


def _text(value: object, limit: int, render: Callable[[object], str] = str, *, keep_end: bool = False) -> str:
    """A text that any database can store, whatever a job has returned or raised; empty for None."""
    if value is None:
        return ""
    try:
        rendered = render(value)
        # A character has at least one byte; one more than the limit shows that something is left out.
        text = rendered[-limit - 1 :] if keep_end else rendered[: limit + 1]
        data = text.replace("\x00", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace")
    except Exception as error:
        data = f"<{type(value).__name__}, whose {render.__name__}() raises {type(error).__name__}>".encode()
    if len(data) <= limit:
        return data.decode()
    kept = limit - len(_CUT.encode())
    return _CUT + data[-kept:].decode(errors="ignore") if keep_end else data[:kept].decode(errors="ignore") + _CUT
