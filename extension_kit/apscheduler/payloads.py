"""Payloads: APScheduler's events in the JSON of CronEye's API."""

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

_SUBMISSION_EVENTS = EVENT_JOB_SUBMITTED | EVENT_JOB_MAX_INSTANCES
_FAILURE_EVENTS = EVENT_JOB_ERROR | EVENT_JOB_MISSED
_EXECUTION_EVENTS = EVENT_JOB_EXECUTED | _FAILURE_EVENTS
JOB_DETAIL_EVENTS = EVENT_JOB_ADDED | EVENT_JOB_MODIFIED | _SUBMISSION_EVENTS
"""Mask of the events that carry the job's name and next run."""
_JOB_EVENTS = JOB_DETAIL_EVENTS | EVENT_JOB_REMOVED | _EXECUTION_EVENTS

_ELLIPSIS = "…"
MIN_TEXT_BYTES = 64


def payloads(event: Any, scheduler_name: str, time_ms: int, job: Any = None, limit: int = 8192) -> list[dict[str, Any]]:
    """Return an event as CronEye documents it (CronEye, docs/event_listener.md, "Payload").

    CronEye finds the scheduler of a job by the name of the job store, so the name of the scheduler stands for both; the
    document calls the key ``job_store``, the server reads ``jobstore``. Beyond the document, every event has the name
    of its scheduler and its time, because it may arrive late; runs have their due time (``scheduled_run_time``), which
    distinguishes the events of simultaneous runs. Servers ignore unknown keys.

    Args:
        event: an event of ``apscheduler.events``.
        scheduler_name: the name of the scheduler in CronEye.
        time_ms: the time of the event in milliseconds since 1970 (UTC), as all times in the result.
        job: the job, if it is known.
        limit: maximum bytes of each text, as UTF-8.

    Returns:
        One payload; for a submission of several runs of a job, one for each run.
    """
    code = event.code
    payload: dict[str, Any] = {"event_code": code, "alias": scheduler_name, "time": time_ms}
    if not code & _JOB_EVENTS:
        return [payload]
    job_id = _text(event.job_id, limit)
    payload |= {"job_store": scheduler_name, "jobstore": scheduler_name, "job_id": job_id}
    if code & JOB_DETAIL_EVENTS and job is not None:
        payload["task"] = _text(job.name, limit)
        payload["next_scheduled_run_time"] = _milliseconds(getattr(job, "next_run_time", None))
    elif code == EVENT_JOB_ADDED:  # the only event that needs a name; in others, the id would replace it
        payload["task"] = job_id
    elif code & _SUBMISSION_EVENTS:
        payload["next_scheduled_run_time"] = None
    if code & _SUBMISSION_EVENTS:
        return [payload | {"scheduled_run_time": _milliseconds(due)} for due in event.scheduled_run_times]
    if code & _EXECUTION_EVENTS:
        payload["scheduled_run_time"] = _milliseconds(event.scheduled_run_time)
    if code == EVENT_JOB_EXECUTED:
        payload["return_value"] = _text(event.retval, limit)
    elif code & _FAILURE_EVENTS:
        payload["exception"] = _text(event.exception, limit, repr)
        payload["traceback"] = _text(event.traceback, limit, keep_end=True)  # it ends where the exception was raised
    return [payload]


def _milliseconds(time: datetime | None) -> int | None:
    return None if time is None else round(time.timestamp() * 1000)


def _text(value: object, limit: int, render: Callable[[object], str] = str, *, keep_end: bool = False) -> str:
    """Return the text of any value, without characters that databases cannot store; empty for None."""
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
    kept = limit - len(_ELLIPSIS.encode())
    return (
        _ELLIPSIS + data[-kept:].decode(errors="ignore")
        if keep_end
        else data[:kept].decode(errors="ignore") + _ELLIPSIS
    )
