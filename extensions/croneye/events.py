"""Events published for schedulers and jobs, as decorated functions see them."""

from datetime import datetime, timedelta
from typing import Any
from uuid import NAMESPACE_URL, uuid4, uuid5

from extension_kit.protocol import PublishedEvent

from .codes import LOST, OVERDUE
from .payload import Posted, text
from .times import parse_time

SOURCE = "croneye"

_NAMESPACE = uuid5(NAMESPACE_URL, "croneye")


class CronEyeEvent(PublishedEvent):
    """An event of a scheduler or of one of its jobs.

    ``time`` is the time of the event, if the service has sent it; ``subject`` is ``<scheduler>/<job id>``, or the
    scheduler.
    """

    __slots__ = ()

    @property
    def scheduler(self) -> str | None:
        """The scheduler's name; None if it is unknown."""
        return self._text("scheduler")

    @property
    def job_id(self) -> str | None:
        """The job's id; None for an event of a scheduler."""
        return self._text("job_id")

    @property
    def task(self) -> str | None:
        """The job's name; None if it is unknown."""
        return self._text("task")

    @property
    def next_run(self) -> datetime | None:
        """The time of the job's next run; for an overdue job, the time at which it should have run."""
        return parse_time(self.data.get("next_run"))

    @property
    def started(self) -> datetime | None:
        """The begin of a lost run; None for other events."""
        return parse_time(self.data.get("started"))

    @property
    def duration(self) -> timedelta | None:
        """The duration of the run that the event ends; None if its begin is unknown."""
        seconds = self.data.get("duration")
        return None if seconds is None else timedelta(seconds=seconds)

    @property
    def return_value(self) -> Any:
        """The job's return value, as the service has sent it."""
        return self.payload.get("return_value")

    @property
    def exception(self) -> str | None:
        """The exception that the job raised."""
        return text(self.payload.get("exception"))

    @property
    def traceback(self) -> str | None:
        """The traceback of the exception."""
        return text(self.payload.get("traceback"))

    @property
    def payload(self) -> dict[str, Any]:
        """The body that the service has sent; empty for overdue jobs and lost runs."""
        payload: dict[str, Any] = self.data.get("payload", {})
        return payload

    def _text(self, key: str) -> str | None:
        value: str | None = self.data.get(key)
        return value


def event_id(posted: Posted, body: bytes) -> str:
    """Return the id of the event published for a posted event.

    CronEye's documented payloads name either their scheduler or their time, so that equal bytes may mean two events. A
    payload that names both, as this kit's client does, is a repetition when it is received again: the first answer was
    lost.
    """
    is_told_apart = posted.time is not None and posted.payload.get("alias") is not None
    return str(uuid5(_NAMESPACE, body.hex()) if is_told_apart else uuid4())


def posted_event(
    posted: Posted,
    id: str,
    *,
    scheduler: str | None,
    task: str | None,
    duration: timedelta | None,
    trace_context: str,
) -> CronEyeEvent:
    """Make the event published for a posted event.

    Args:
        posted: the posted event.
        id: the id of the published event.
        scheduler: the scheduler's name, if it is known by now.
        task: the job's name, if it is known by now.
        duration: the duration of the run that the event ends.
        trace_context: of the request with the event.
    """
    return _event(
        id,
        posted.code.event_name,
        posted.time,
        {
            "scheduler": scheduler,
            "job_id": posted.job_id,
            "task": task,
            "next_run": posted.next_run,
            "duration": None if duration is None else duration.total_seconds(),
            "payload": posted.payload,
        },
        trace_context,
    )


def overdue_event(
    scheduler: str | None, job_id: str, task: str | None, next_run: datetime, now: datetime
) -> CronEyeEvent:
    """Make the event published for an overdue job. Its id is the same for the same job and time."""
    return _event(
        str(uuid5(_NAMESPACE, f"overdue {scheduler!r} {job_id!r} {next_run.isoformat()}")),
        OVERDUE,
        now,
        {
            "scheduler": scheduler,
            "job_id": job_id,
            "task": task,
            "next_run": next_run,
            "duration": None,
            "payload": {},
        },
    )


def lost_event(
    scheduler: str | None,
    job_id: str,
    task: str | None,
    next_run: datetime | None,
    *,
    started: datetime,
    due: datetime | None,
    now: datetime,
) -> CronEyeEvent:
    """Make the event published for a lost run. Its id is the same for the same run.

    Args:
        scheduler: the scheduler's name, if it is known.
        job_id: the id of the job.
        task: the job's name, if it is known.
        next_run: the time of the job's next run, if it is known.
        started: the begin of the run.
        due: the scheduled begin of the run, if the service sends it.
        now: the time of the report.
    """
    run = f"{started.isoformat()} {due.isoformat() if due else None}"
    return _event(
        str(uuid5(_NAMESPACE, f"lost {scheduler!r} {job_id!r} {run}")),
        LOST,
        now,
        {
            "scheduler": scheduler,
            "job_id": job_id,
            "task": task,
            "next_run": next_run,
            "started": started,
            "duration": None,
            "payload": {},
        },
    )


def _event(id: str, name: str, time: datetime | None, data: dict[str, Any], trace_context: str = "") -> CronEyeEvent:
    parts = [part for part in (data["scheduler"], data["job_id"]) if part is not None]
    subject = "/".join(parts) or None
    series = f"{SOURCE}:{subject}" if subject else None
    return CronEyeEvent.of(
        source=SOURCE,
        id=id,
        name=name,
        time=time,
        subject=subject,
        series=series,
        data=data,
        trace_context=trace_context,
    )
