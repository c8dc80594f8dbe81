"""An in-memory agent for tests, the value of the pytest fixture ``agent``."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from os import PathLike, fspath
from typing import Any
from unittest.mock import patch

import orjson

from extension_kit.agent.factory import EventFactory
from extension_kit.agent.recording import open_recording
from extension_kit.agent.registration_reader import RegistrationDocument
from extension_kit.deliveries.sender_pool import Senders
from extension_kit.deliveries.target_listeners import made_targets
from extension_kit.events.event import Event
from extension_kit.events.patterns import PatternIndex
from extension_kit.events.published import PublishedEvent
from extension_kit.events.registry import Listener
from extension_kit.extension import Extension
from extension_kit.runtime.service import Service
from extension_kit.senders import Message
from extension_kit.settings.kit import Settings
from extension_kit.testing.worker import Delivery, InMemoryWorker
from extension_kit.web.app import create_app


@dataclass(frozen=True)
class Answer:
    """The answer of one path of the extension; ``body`` is decoded if it is JSON, else text."""

    path: str
    status: int
    body: Any


@dataclass
class Call:
    """A call of a function; ``error`` is the exception it raised."""

    name: str
    event: Event
    error: BaseException | None = None


@dataclass
class Sent:
    """The outcome of one event."""

    event: Any
    """The body of a sent event, or the data of a published one."""
    answers: list[Answer] = field(default_factory=list)
    """One answer for each path that listens to the event."""
    calls: list[Call] = field(default_factory=list)
    """The calls of functions, in order: one for each attempt."""
    deliveries: list[Delivery] = field(default_factory=list)
    """The deliveries to durable functions and targets: delivered or dead, and the number of attempts."""
    messages: list[Message] = field(default_factory=list)
    """The messages to targets (``Extension.add_target``), which are not sent."""

    @property
    def status(self) -> int | None:
        """200 if every path accepted the event, else the first other status; None if no path listens to it."""
        statuses = [answer.status for answer in self.answers]
        return next((status for status in statuses if status != 200), statuses[0] if statuses else None)

    @property
    def answer(self) -> Any:
        """The body of the answer with that status; None if no path listens to the event."""
        return next((answer.body for answer in self.answers if answer.status == self.status), None)

    @property
    def ran(self) -> list[str]:
        """The names of the called functions, in order, each once for all its attempts."""
        return list(dict.fromkeys(call.name for call in self.calls))

    @property
    def error(self) -> BaseException | None:
        """The first exception that a function raised."""
        return next((call.error for call in self.calls if call.error), None)


class InMemoryAgent:
    """An agent that sends events to an extension in this process, through its Flask application.

    Immediate functions run before the answer. Durable functions run after it and are retried as by a worker, but at
    once; the waits are in the result. ``event.state`` is kept in memory; ``state`` has its keys and values. Messages to
    targets are made, and not sent.

    Settings are read from the environment; the agent uses the credentials of basic authentication if they are set. Each
    agent has a fresh server, which remembers no events of another agent.
    """

    def __init__(self, extension: Extension) -> None:
        settings = Settings.from_environment()
        self._worker = worker = InMemoryWorker(settings.function_timeout, settings.retention_days)
        self._state = worker.state[extension.name]
        extension.state.bind(self._state)
        service = Service.of([extension], settings, durable=False, recorder=worker, find_step=worker.find_step).open()
        self._listeners: list[Listener] = service.registry.listeners
        with closing(Senders(settings)) as senders:
            worker.targets = made_targets(self._listeners, senders)
        self._client = create_app(service).test_client()
        self._auth = (settings.basic_username, settings.basic_password) if settings.basic_username else None
        self.role = "leader"
        """The role of the agent: ``leader``, ``follower``, or another value of ``restrict_to``."""
        self.timeout: float | None = None
        """Seconds sent as ``Request-Timeout``, or None. With it, functions run in another thread than the test."""
        self.factory = EventFactory()
        """The factory of the events."""

    @property
    def registration(self) -> dict[str, Any]:
        """The registration document of the extension."""
        document: dict[str, Any] = orjson.loads(self._index())
        return document

    @property
    def state(self) -> dict[str, Any]:
        """The keys and values that functions have kept with ``event.state``, by now."""
        return self._state.values()

    def send(self, event: str | Mapping[str, Any], /, **changes: Any) -> Sent:
        """Send an event to every path that listens to it.

        Args:
            event: the name of an event to make, or a whole body to send unchanged.
            changes: values to set in the made event, see ``EventFactory.event``.

        Raises:
            ValueError: no agent is known to send events of this name.
            TypeError: an event of this name has no such key, or changes were given with a whole body.
        """
        if isinstance(event, str):
            event = self.factory.event(event, **changes)
        elif changes:
            raise TypeError("changes apply to made events only: give a name, or change the body itself")
        sent = Sent(dict(event))
        with _recording(sent.calls):
            for listener in RegistrationDocument.parse(self._index()).select(event.get("eventName"), self.role):
                sent.answers.append(self._call(listener.method, listener.path, sent.event))
                sent.deliveries += self._worker.work()
        sent.messages = self._worker.sender.take()
        return sent

    def publish(self, event: PublishedEvent) -> Sent:
        """Deliver an event of another system to every function that listens to it, as a worker would.

        Args:
            event: the event, as the extension of that protocol publishes it.
        """
        sent = Sent(event.raw)
        index: PatternIndex[Listener] = PatternIndex()
        for listener in self._listeners:
            index.add(listener.patterns, listener)
        with _recording(sent.calls):
            sent.deliveries = self._worker.publish(event, index.match(event.name))
        sent.messages = self._worker.sender.take()
        return sent

    def play(self, events: Iterable[Mapping[str, Any]]) -> list[Sent]:
        """Send events one after the other, such as ``agent.factory.run(outcome="failed")``.

        As on a server, ``event.step`` of a target event is found if a durable function listens to
        ``experiment.execution.step-started``, too.
        """
        return [self.send(event) for event in events]

    def replay(self, path: str | PathLike[str]) -> list[Sent]:
        """Send the events of a file: JSON lines or a JSON array.

        Raises:
            ConfigurationError: the file cannot be read.
        """
        with open_recording(fspath(path)) as recording:
            return self.play(recording.events)

    def _index(self) -> bytes:
        body: bytes = self._client.get("/", auth=self._auth).data
        return body

    def _call(self, method: str, path: str, event: Mapping[str, Any]) -> Answer:
        headers = {"Request-Timeout": f"{self.timeout:g}"} if self.timeout else {}
        response = self._client.open(
            path,
            method=method,
            data=orjson.dumps(event),
            content_type="application/json",
            headers=headers,
            auth=self._auth,
        )
        return Answer(path, response.status_code, response.json if response.is_json else response.text)


@contextmanager
def _recording(calls: list[Call]) -> Iterator[None]:
    """Record the calls of functions in the context."""
    original = Listener.call

    def call(listener: Listener, event: Event) -> object:
        recorded = Call(listener.name, event)
        calls.append(recorded)
        try:
            return original(listener, event)
        except BaseException as error:
            recorded.error = error
            raise

    with patch.object(Listener, "call", call):
        yield
