"""API records: rows of the database as the objects of the JSON API. Secrets are hidden in texts from outside."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import Row

from extension_kit.deliveries.action_rows import state
from extension_kit.deliveries.delivery_fields import delivery_fields
from extension_kit.deliveries.queries import ATTEMPT_COLUMNS
from extension_kit.deliveries.tables import DEAD, DELIVERED, DISCARDED, WAITING
from extension_kit.deliveries.worker_rows import WorkerRow
from extension_kit.event_log.bodies import show_body
from extension_kit.event_log.receivers import ShownReceiver
from extension_kit.event_log.run_search import Run
from extension_kit.event_log.texts import redacted

Record = dict[str, Any]
"""Object of the JSON API."""

_EVENT = ("ref", "source", "event_id", "subject", "time", "received_at")
_RUN = ("subject", "state", "first_at", "last_at", "events", "counted")
_ACTION = (
    "ref", "kind", "made_by", "filter", "expected", "changed", "skipped", "started_at", "seen_at", "ended_at", "error",
)  # fmt: skip


def event_record(row: Row[Any]) -> Record:
    """Return an event without its body, from a row of ``find_events``."""
    numbers = {status: getattr(row, status) for status in (WAITING, DELIVERED, DEAD, DISCARDED)}
    return {**_event(row), "size": row.size, "deliveries": numbers}


def whole_event_record(
    row: Row[Any], deliveries: Sequence[Row[Any]], behind: Mapping[int, int], *, is_raw: bool
) -> Record:
    """Return an event with its body and its deliveries.

    Args:
        row: row of the event.
        deliveries: its deliveries, rows of ``find_deliveries``.
        behind: delivery number -> number of the delivery that it waits for.
        is_raw: True if secrets are not to be hidden.
    """
    body = show_body(row.body, is_raw=is_raw)
    return {
        **_event(row),
        "size": body.size,
        "body": _decoded(body.text),
        "body_is_cut": body.is_cut,
        "deliveries": [delivery_record(each, behind) for each in deliveries],
    }


def delivery_record(row: Row[Any], behind: Mapping[int, int]) -> Record:
    """Return a delivery.

    Args:
        row: row of ``find_deliveries``.
        behind: delivery number -> number of the delivery that it waits for.
    """
    named = {"ref": row.ref, "event_ref": row.event_ref, "source": row.source}
    return {**named, **delivery_fields(row, behind), "error": _redacted(row.error)}


def run_record(run: Run) -> Record:
    """Return a run of an experiment, with the deliveries of those of its events that were looked at."""
    numbers = {status: getattr(run, status) for status in (WAITING, DELIVERED, DEAD, DISCARDED)}
    return {**{name: getattr(run, name) for name in _RUN}, "deliveries": numbers}


def attempt_record(row: Row[Any]) -> Record:
    """Return an attempt, from its row."""
    found = {name: getattr(row, name) for name in ATTEMPT_COLUMNS}
    return {**found, "error": _redacted(row.error), "excerpt": _redacted(row.excerpt)}


def receiver_record(receiver: ShownReceiver) -> Record:
    """Return a receiver with its pause, its circuit breaker and the numbers of its deliveries."""
    since, by = receiver.paused or (None, None)
    return {
        "listener": receiver.key,
        "kind": receiver.kind,
        "label": receiver.label,
        "events": list(receiver.patterns),
        "is_enabled": receiver.is_enabled,
        "may_be_paused": receiver.may_be_paused,
        "paused_since": since,
        "paused_by": by,
        "circuit_open_until": receiver.circuit_until,
        "waiting": receiver.waiting._asdict(),
        "dead": receiver.dead._asdict(),
    }


def action_record(row: Row[Any], now: datetime) -> Record:
    """Return an action with its state, from its row."""
    return {**{name: getattr(row, name) for name in _ACTION}, "state": state(row, now)}


def worker_record(worker: WorkerRow, now: datetime) -> Record:
    """Return a worker, silent or not."""
    circuits = [each._asdict() for each in worker.open_circuits]
    return {**worker._asdict(), "open_circuits": circuits, "is_silent": worker.is_silent(now)}


def _event(row: Row[Any]) -> Record:
    return {**{name: getattr(row, name) for name in _EVENT}, "event": row.name}


def _redacted(text: str | None) -> str | None:
    return None if text is None else redacted(text)


def _decoded(text: str) -> Any:
    """Return the value of a body that is JSON; else its text."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
