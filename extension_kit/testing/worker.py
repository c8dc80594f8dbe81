"""An in-memory worker for tests: makes the deliveries of durable functions at once, without waits."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, Literal

from extension_kit.deliveries.entries import Entry, entry_of
from extension_kit.deliveries.function_handlers import Views, function_handler
from extension_kit.deliveries.handler import Due, Handler
from extension_kit.deliveries.state import ChangedOutcome
from extension_kit.deliveries.subscription_handlers import Circuits
from extension_kit.deliveries.target_listeners import target_listener_handlers
from extension_kit.events.event import Event
from extension_kit.events.published import PublishedEvent
from extension_kit.events.registry import Listener
from extension_kit.events.state import State
from extension_kit.senders import Message, Outcome
from extension_kit.testing.state import InMemoryState


@dataclass
class Delivery:
    """A delivery of one event to one durable function or target: ended, or waiting because it is not ready."""

    name: str
    """The name of the listener, by default that of its function."""
    status: Literal["delivered", "dead", "waiting"]
    attempts: int
    """The number of attempts."""
    error: str | None = None
    """The error of the last attempt of a dead delivery, or the reason of ``NotReady``."""
    waits: list[float] = field(default_factory=list)
    """The seconds a worker would have waited after each attempt except the last."""


class RecordingSender:
    """Keeps messages instead of sending them, in place of every sender."""

    def __init__(self) -> None:
        self._messages: list[Message] = []

    def take(self) -> list[Message]:
        """Return the messages that were kept since the last call."""
        taken, self._messages = self._messages, []
        return taken

    def get(self, name: str) -> "RecordingSender":
        """Return this sender, by any name."""
        return self

    def send(self, target: dict[str, Any], message: Message) -> Outcome:
        """Keep a message."""
        self._messages.append(message)
        return Outcome("delivered")

    def check(self, target: dict[str, Any]) -> dict[str, str]:
        """Find no problems: the targets were checked by their own senders."""
        return {}

    def close(self) -> None:
        """Close nothing."""


class InMemoryWorker:
    """Records events in place of the database, and makes their deliveries.

    Args:
        timeout: seconds a function may take, unless its listener has a timeout. It is passed on, but not enforced.
        keep_days: days for which a value of the state is kept at most.

    Attributes:
        state: the state of each extension by its name.
        targets: the targets of target listeners, by listener key.
        sender: keeps their messages.
    """

    def __init__(self, timeout: float, keep_days: float = 30) -> None:
        self._timeout = timeout
        self._keep = timedelta(days=keep_days)
        self.state: defaultdict[str, InMemoryState] = defaultdict(InMemoryState)
        self.targets: Mapping[str, dict[str, Any]] = {}
        self.sender = RecordingSender()
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

    def _make_state(self, extension: str, due: Due, deadline: float) -> State:
        return State(self.state[extension], self._keep, deadline)

    def _deliver(self, entry: Entry, listener: Listener, views: Views) -> Delivery:
        handler = self._handler(listener, views)
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
                if isinstance(outcome, ChangedOutcome):
                    self.state[outcome.extension].write(outcome.changes)
                    self.state[outcome.extension].add(outcome.additions)
                return Delivery(listener.name, "delivered", due.number, None, waits)
            if outcome.result == "not ready":
                return Delivery(listener.name, "waiting", due.number, outcome.error, waits)
            wait = handler.schedule.wait_after(due.number, exactly=outcome.retry_in)
            if outcome.result == "refused" or wait is None:
                return Delivery(listener.name, "dead", due.number, outcome.error, waits)
            waits.append(wait)
            due = due._replace(number=due.number + 1)

    def _handler(self, listener: Listener, views: Views) -> Handler:
        found = target_listener_handlers([listener], self.targets, self.sender, Circuits.make(), self.find_step, views)
        return found.get(listener.key) or function_handler(
            listener, self._timeout, self.find_step, views, self._make_state
        )
