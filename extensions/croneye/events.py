"""The events that are published, and how functions see them."""

from datetime import datetime, timedelta
from typing import Any
from uuid import NAMESPACE_URL, uuid4, uuid5

from extension_kit.protocol import PublishedEvent

from .codes import LOST, OVERDUE
from .moments import moment
from .payload import Posted, text

SOURCE = "croneye"

_NAMESPACE = uuid5(NAMESPACE_URL, "croneye")


class CronEyeEvent(PublishedEvent):
    """An event of a scheduler or of one of its jobs.

    ``time`` is when it happened, where the service has said so; ``subject`` is ``<scheduler>/<job id>``, or the
    scheduler.
    """

    __slots__ = ()

    @property
    def scheduler(self) -> str | None:
        """The scheduler's name; None where nobody has said it."""
        return self._text("scheduler")

    @property
    def job_id(self) -> str | None:
        """The job's id; None where it is not about one."""
        return self._text("job_id")

    @property
    def task(self) -> str | None:
        """The job's name; None where nobody has said it."""
        return self._text("task")

    @property
    def next_run(self) -> datetime | None:
        """When the job is to run next; of an overdue job when it should have run."""
        return moment(self.data.get("next_run"))

    @property
    def started(self) -> datetime | None:
        """When the run began that is lost; None for other events."""
        return moment(self.data.get("started"))

    @property
    def duration(self) -> timedelta | None:
        """How long the run took, of an event that ends one whose begin is known."""
        seconds = self.data.get("duration")
        return None if seconds is None else timedelta(seconds=seconds)

    @property
    def return_value(self) -> Any:
        """What the job returned, as the service has sent it."""
        return self.payload.get("return_value")

    @property
    def exception(self) -> str | None:
        """What the job raised."""
        return text(self.payload.get("exception"))

    @property
    def traceback(self) -> str | None:
        """Where the job raised it."""
        return text(self.payload.get("traceback"))

    @property
    def payload(self) -> dict[str, Any]:
        """What the service has sent; empty for overdue jobs and lost runs, of which it has sent nothing."""
        payload: dict[str, Any] = self.data.get("payload", {})
        return payload

    def _text(self, key: str) -> str | None:
        value: str | None = self.data.get(key)
        return value


def event_id(posted: Posted, body: bytes) -> str:
    """The id of the event that is published for a posted one.

    CronEye's documented payloads say either whose they are or when they happened, so that the same bytes may well be
    sent twice and mean two events. A payload that says both, as this kit's client does, is the same event when it comes
    again: its first answer was lost.
    """
    is_told_apart = posted.time is not None and posted.payload.get("alias") is not None
    return str(uuid5(_NAMESPACE, body.hex()) if is_told_apart else uuid4())


def of_posted(
    posted: Posted, id: str, *, scheduler: str | None, task: str | None, duration: timedelta | None
) -> CronEyeEvent:
    """Make the event that is published for a posted one.

    Args:
        posted: what came in.
        id: the event's.
        scheduler: whose it is, as far as it is known by now.
        task: the job's name, likewise.
        duration: of the run that it ends.
    """
    return _made(
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
    )


def of_overdue(scheduler: str | None, job_id: str, task: str | None, next_run: datetime, now: datetime) -> CronEyeEvent:
    """Make the event that is published for a job that was not seen when it should have run; always the same one."""
    return _made(
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


def of_lost(
    scheduler: str | None,
    job_id: str,
    task: str | None,
    next_run: datetime | None,
    *,
    started: datetime,
    due: datetime | None,
    now: datetime,
) -> CronEyeEvent:
    """Make the event that is published for a run of whose end nothing is heard; always the same one for a run.

    Args:
        scheduler: whose job it is, where that is known.
        job_id: the job.
        task: the job's name, where it is known.
        next_run: when the job is to run next, where that is known.
        started: when the run began.
        due: when it was to begin, where the service says so.
        now: when it is reported.
    """
    run = f"{started.isoformat()} {due.isoformat() if due else None}"
    return _made(
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


def _made(id: str, name: str, time: datetime | None, data: dict[str, Any]) -> CronEyeEvent:
    parts = [part for part in (data["scheduler"], data["job_id"]) if part is not None]
    subject = "/".join(parts) or None
    series = f"{SOURCE}:{subject}" if subject else None
    return CronEyeEvent.of(source=SOURCE, id=id, name=name, time=time, subject=subject, series=series, data=data)
