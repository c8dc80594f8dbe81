"""Events of Pulp: as functions see them, and how a notification of a Pulp server becomes one."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import uuid4

from extension_kit.protocol import PublishedEvent, parse_time

from .event_types import PULP_TYPES
from .listeners import SOURCE


class PulpEvent(PublishedEvent):
    """An event of a Pulp server (Pulp 2, event docs). ``data`` is the notification's document."""

    __slots__ = ()

    @property
    def payload(self) -> Any:
        """The payload: for events of repositories, an object."""
        return self.data["payload"]

    @property
    def repo_id(self) -> str | None:
        """The repository; None if the payload names none."""
        return _text(self.payload, "repo_id")

    @property
    def result(self) -> str | None:
        """The result of a finished sync or publish: ``success``, ``failed``, ``error``, ``canceled`` or ``skipped``."""
        return _text(self.payload, "result")

    @property
    def started(self) -> datetime | None:
        """The time at which a finished sync or publish started."""
        return parse_time(_text(self.payload, "started"))

    @property
    def completed(self) -> datetime | None:
        """The time at which it was completed."""
        return parse_time(_text(self.payload, "completed"))

    @property
    def call_report(self) -> dict[str, Any] | None:
        """The report of the task that caused the event; None outside a task."""
        report = self.data["call_report"]
        return report if isinstance(report, dict) else None

    @property
    def task_id(self) -> str | None:
        """The id of that task."""
        return _text(self.call_report, "task_id")


class NotificationError(ValueError):
    """A document is not a notification of Pulp; the message says why."""


def event_of(document: Any, trace_context: str = "") -> PulpEvent:
    """Return the event of a notification.

    The task, the event type and the distributor, of which a task may publish several, identify an event, so that a
    notification that is sent twice is one event. The events of a repository form a series.

    Args:
        document: the notification, decoded.
        trace_context: of its request.

    Raises:
        NotificationError: it is not a notification; the message says why.
    """
    if not isinstance(document, Mapping):
        raise NotificationError("a notification is a JSON object with event_type, payload and call_report")
    event_type, report = document.get("event_type"), document.get("call_report")
    if event_type not in PULP_TYPES:
        raise NotificationError(f"event_type is one of {', '.join(PULP_TYPES)}")
    if "payload" not in document:
        raise NotificationError("payload is missing")
    if not isinstance(report, Mapping | None):
        raise NotificationError("call_report is an object or null")
    payload = document["payload"]
    task_id, repo_id = _text(report, "task_id"), _text(payload, "repo_id")
    identity = filter(None, (task_id, event_type, _text(payload, "distributor_id")))
    try:
        return PulpEvent.of(
            source=SOURCE,
            id="/".join(identity) if task_id else str(uuid4()),
            name=event_type,
            subject=repo_id,
            series=f"{SOURCE}/{repo_id}" if repo_id else None,
            data={"event_type": event_type, "payload": payload, "call_report": report},
            trace_context=trace_context,
        )
    except TypeError:  # after the reader's repairs, nothing else is left that cannot be written
        raise NotificationError("it is nested too deep") from None


def _text(found: Any, key: str) -> str | None:
    value = found.get(key) if isinstance(found, Mapping) else None
    return value if isinstance(value, str) and value else None
