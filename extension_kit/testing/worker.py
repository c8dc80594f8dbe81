"""An in-memory worker for tests: makes the deliveries of durable functions at once, without waits."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import Literal

from extension_kit.deliveries.entries import Entry, entry_of
from extension_kit.deliveries.function_handlers import Views, function_handler
from extension_kit.deliveries.handler import Due
from extension_kit.events.event import Event
from extension_kit.events.published import PublishedEvent
from extension_kit.events.registry import Listener


@dataclass
class Delivery:
    """An ended delivery of one event to one durable function."""

    name: str
    """The name of the listener, by default that of its function."""
    status: Literal["delivered", "dead"]
    attempts: int
    """The number of attempts."""
    error: str | None = None
    """The error of the last attempt of a dead delivery."""
    waits: list[float] = field(default_factory=list)
    """The seconds a worker would have waited after each attempt except the last."""


class InMemoryWorker:
    """Records events in place of the database, and makes their deliveries.

    Args:
        timeout: seconds a function may take, unless its listener has a timeout. It is passed on, but not enforced.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._waiting: list[tuple[Entry, Listener]] = []
        self._steps: dict[tuple[str, str], bytes] = {}
        self._refs = count(1)

    def record(self, event: Event, listeners: Sequence[Listener], tell: Callable[[bool], None]) -> bool:
        """Take an event as the server's recorder does, but without detection of duplicates."""
        self._take(entry_of(event, [listener.key for listener in listeners]), listeners)
        tell(True)
        return True

    def find_step(self, series: str, step_id: str) -> bytes | None:
        """Return the body of the event that started a step, if it was taken."""
        return self._steps.get((series, step_id))

    def publish(self, event: PublishedEvent, listeners: Sequence[Listener]) -> list[Delivery]:
        """Take an event of another system and make its deliveries."""
        self._take(Entry.of(event, [listener.key for listener in listeners]), listeners)
        return self.work({event.source: type(event)})

    def work(self, views: Views | None = None) -> list[Delivery]:
        """Make all waiting deliveries and return them."""
        waiting, self._waiting = self._waiting, []
        return [self._deliver(entry, listener, views or {}) for entry, listener in waiting]

    def _take(self, entry: Entry, listeners: Sequence[Listener]) -> None:
        if entry.step and entry.series:
            self._steps[entry.series, entry.step] = entry.body
        self._waiting += [(entry, listener) for listener in listeners]

    def _deliver(self, entry: Entry, listener: Listener, views: Views) -> Delivery:
        handler = function_handler(listener, self._timeout, self.find_step, views)
        due = Due(
            ref=next(self._refs),
            number=1,
            uncounted_attempts=0,
            listener=listener.key,
            created_at=datetime.now(UTC),
            event_name=entry.name,
            event_id=entry.event_id,
            body=entry.body,
            source=entry.source,
            time=entry.time,
            subject=entry.subject,
            series=entry.series,
            place=None,
        )
        waits: list[float] = []
        while True:
            outcome = handler.make(due)
            if outcome.result == "delivered":
                return Delivery(listener.name, "delivered", due.number, None, waits)
            wait = handler.schedule.wait_after(due.number, exactly=outcome.retry_in)
            if outcome.result == "refused" or wait is None:
                return Delivery(listener.name, "dead", due.number, outcome.error, waits)
            waits.append(wait)
            due = due._replace(number=due.number + 1)
