"""Entries: events as the outbox records them, with the keys of their listeners."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection

from extension_kit.events.event import Event
from extension_kit.observability.tracing import current_trace_context

_STEP_STARTED = "experiment.execution.step-started"


class Entry(NamedTuple):
    """One event, and the keys of its listeners.

    ``step`` is the execution id of the step that the event starts. ``scope`` is its tenant: subscriptions with another
    scope do not get it. ``is_direct`` is True if only its listeners get it. ``received_at`` is the time at which it was
    answered, aware; None: now. Subscriptions made later do not get it. ``trace_context`` is as its column
    has it.
    """

    source: str
    event_id: str
    name: str
    subject: str | None
    time: datetime | None
    body: bytes
    series: str | None
    listeners: tuple[str, ...]
    step: str | None = None
    scope: str | None = None
    is_direct: bool = False
    received_at: datetime | None = None
    trace_context: str | None = None

    @classmethod
    def of(
        cls,
        event: Event,
        keys: Iterable[str],
        *,
        step: str | None = None,
        scope: str | None = None,
        is_direct: bool = False,
        received_at: datetime | None = None,
        trace_context: str | None = None,
    ) -> "Entry":
        """Make the entry of an event for the listeners with some keys.

        Without a trace context it is in the trace of the current span, if there is one.
        """
        return cls(
            event.source,
            event.id,
            event.name,
            event.subject,
            event.time,
            event.body,
            event.series,
            tuple(keys),
            step,
            scope,
            is_direct,
            received_at,
            trace_context or current_trace_context(),
        )


def entry_of(
    event: Event, keys: Sequence[str], received_at: datetime | None = None, trace_context: str | None = None
) -> Entry:
    """Make the entry of an agent's event for the listeners with some keys, with the step that it starts."""
    step = started_step(event)
    named_step = step[1] if step else None
    return Entry.of(event, keys, step=named_step, received_at=received_at, trace_context=trace_context)


def started_step(event: Event) -> tuple[str, str] | None:
    """Return the series and the id of the step that an event starts; None for other events."""
    if event.name != _STEP_STARTED or (series := event.series) is None:
        return None
    step = event.experiment_step_execution
    return (series, step.id) if step and step.id else None


Match = Callable[[Connection, Sequence[Entry]], Sequence[Sequence[str]]]
"""Finds further listeners of events beside those in their entries: a list of listener keys for each entry.

It is called once for a group, within the transaction that records it, with the entries of new events, each once. A
subscription made after an event was received does not get it, nor when it is sent again.
"""


class Recorded(NamedTuple):
    """Result for an entry: True for a new event, the place in its series from 1, the number of added deliveries."""

    is_new: bool
    place: int | None
    deliveries: int
