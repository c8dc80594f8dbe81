"""Bodies of ``POST /event``: decoded, checked and made uniform."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from extension_kit.protocol import bounded, read_foreign_json

from .codes import EXECUTION, JOB, SCHEDULER, Code
from .times import parse_time

_LOGGED = 80  # characters of a name in a log line
_DEEPEST = 200  # levels; JSON nested deeper cannot be encoded again


class InvalidPayload(ValueError):
    """The body is malformed, or holds an impossible value."""


@dataclass(frozen=True, slots=True)
class Posted:
    """One posted event.

    Attributes:
        code: the event code.
        scheduler: the scheduler's name, if the body names it.
        job_id: the job's id; None for events of a scheduler.
        task: the job's name, if the body names it.
        time: the time of the event, if the body names it.
        due: the scheduled begin of the run, if the body names it. CronEye does not document it; runs with it are paired
            for certain.
        next_run: the time of the job's next run; None if there is none, or if the body does not name it.
        says_next_run: True if the body names the next run, be it null.
        payload: the decoded body.
        repairs: descriptions of the repaired parts of the body that were not JSON.
    """

    code: Code
    scheduler: str | None
    job_id: str | None
    task: str | None
    time: datetime | None
    due: datetime | None
    next_run: datetime | None
    says_next_run: bool
    payload: dict[str, Any]
    repairs: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return the event as log lines name it: its name, its job and its scheduler, on one line."""
        job = f" of the job {self.job_id[:_LOGGED]!r}" if self.job_id is not None else ""
        scheduler = f" at the scheduler {self.scheduler[:_LOGGED]!r}" if self.scheduler is not None else ""
        return f"{self.code.event_name}{job}{scheduler}"


def read(body: bytes) -> Posted | None:
    """Read a body.

    The keys that CronEye's documentation names for a code are required, or checked if they may be null. Other keys are
    used if their value makes sense, and ignored otherwise.

    Returns:
        The event; None for an object with an unknown code, which CronEye answers with success and drops.

    Raises:
        InvalidPayload: it is no JSON object, lacks a required key, or has an impossible value.
    """
    payload, repairs = _decode(body)
    if (code := Code.of(payload.get("event_code"))) is None:
        return None
    scheduler = _scheduler(payload, code)
    job_id = _key(payload.get("job_id"))
    task = text(payload.get("task"))
    if code in SCHEDULER and scheduler is None:
        raise InvalidPayload("alias: the scheduler's name is needed")
    if code in JOB and code is not Code.JOB_MODIFIED and job_id is None:
        raise InvalidPayload("job_id: a number or a text is needed")
    if code is Code.JOB_ADDED and task is None:
        raise InvalidPayload("task: the job's name is needed")
    submits = code in (Code.JOB_SUBMITTED, Code.JOB_MAX_INSTANCES)
    return Posted(
        code,
        scheduler,
        job_id if code in JOB else None,
        task if code in JOB else None,
        _time(payload, "time", needs_sense=code in EXECUTION),
        _time(payload, "scheduled_run_time", needs_sense=False),
        _time(payload, "next_scheduled_run_time", needs_sense=submits),
        submits or "next_scheduled_run_time" in payload,
        payload,
        repairs,
    )


def text(value: Any) -> str | None:
    """Return a value as a text that both stores can keep; None for null."""
    if value is None:
        return None
    written = value if isinstance(value, str) else orjson.dumps(value).decode()
    return written.replace("\x00", "\ufffd")


def _decode(body: bytes) -> tuple[dict[str, Any], tuple[str, ...]]:
    try:
        payload, repairs = read_foreign_json(body)
    except ValueError as error:
        raise InvalidPayload("the body is not JSON") from error
    if not isinstance(payload, dict):
        raise InvalidPayload("the body is not an object")
    # Counted only if the body has enough brackets to be that deep, which is rare.
    if body.count(b"{") + body.count(b"[") > _DEEPEST and _is_too_deep(payload):
        raise InvalidPayload(f"the body is nested deeper than {_DEEPEST} levels")
    return payload, repairs


def _is_too_deep(payload: dict[str, Any]) -> bool:
    level: list[Any] = [payload]
    for _ in range(_DEEPEST):
        level = [
            inner
            for value in level
            for inner in (value.values() if isinstance(value, dict) else value)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


def _scheduler(payload: dict[str, Any], code: Code) -> str | None:
    """Return the scheduler's name. CronEye finds that of a job by its job store, which must have the same name.

    Its documentation calls the key ``job_store``, its server reads ``jobstore``.
    """
    keys = ("jobstore", "job_store", "alias") if code in JOB else ("alias",)
    names = (_key(payload.get(key)) for key in keys)
    return next((name for name in names if name is not None), None)


def _key(value: Any) -> str | None:
    """Return a name as a key of rows: numbers become texts, long texts are shortened and stay different."""
    if isinstance(value, float) and value.is_integer():  # integers beyond 64 bits are decoded as floats
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | str) or value == "":
        return None
    return bounded(str(value))


def _time(payload: dict[str, Any], key: str, *, needs_sense: bool) -> datetime | None:
    try:
        return parse_time(payload.get(key))
    except ValueError as error:
        if needs_sense:
            raise InvalidPayload(f"{key}: a time is needed") from error
        return None
