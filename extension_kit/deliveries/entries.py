"""Entries: events as the outbox records them, with the keys of their listeners."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection

from extension_kit.events.event import Event
from extension_kit.events.registry import Listener

_STEP_STARTED = "experiment.execution.step-started"


class Entry(NamedTuple):
    """One event, and the keys of its listeners.

    ``step`` is the execution id of the step that the event starts. ``scope`` is its tenant: subscriptions with another
    scope do not get it. ``is_direct`` is True if only its listeners get it.
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

    @classmethod
    def of(
        cls,
        event: Event,
        keys: Iterable[str],
        *,
        step: str | None = None,
        scope: str | None = None,
        is_direct: bool = False,
    ) -> "Entry":
        """Make the entry of an event for the listeners with some keys."""
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
        )


def entry_of(event: Event, listeners: Sequence[Listener]) -> Entry:
    """Make the entry of an agent's event, with the step that it starts."""
    step = event.experiment_step_execution if event.name == _STEP_STARTED else None
    return Entry.of(event, [listener.key for listener in listeners], step=step.id if step else None)


Match = Callable[[Connection, Sequence[Entry]], Sequence[Sequence[str]]]
"""Finds further listeners of events beside those in their entries: a list of listener keys for each entry.

It is called once for a group, within the transaction that records it, with the entries of new events, each once. So a
subscription made after an event was recorded does not get it when it is sent again.
"""


class Recorded(NamedTuple):
    """Result for an entry: True for a new event, the place in its series from 1, the number of added deliveries."""

    is_new: bool
    place: int | None
    deliveries: int
