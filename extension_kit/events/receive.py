"""From the bytes of a request to its answer: decode, validate, deduplicate, route, run. No framework, no I/O.

Both edges, the Flask view and the ASGI application, pass the bytes of a request to ``Receiver.receive`` and send the
answer. This is the hot path.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Protocol

import orjson

from extension_kit.events.answers import ACCEPTED, BUSY, NOT_STORED, Answer, problem
from extension_kit.events.duplicates import RecentEvents
from extension_kit.events.event import Event, FindStep
from extension_kit.events.listener import Listener
from extension_kit.events.pending import ImmediateRun, Pending, scoped_run
from extension_kit.events.registry import Registry, Route
from extension_kit.events.schema.validation import EventValidator, Mode
from extension_kit.observability.attempt_scope import is_scoped
from extension_kit.observability.redaction import redact

logger = logging.getLogger("extension_kit.events")

Start = Callable[[Callable[[], None]], bool]
"""Starts a run of functions; returns False if there is no capacity."""


class Recorder(Protocol):
    """Commits events of durable listeners to the database."""

    def record(self, event: Event, listeners: Sequence[Listener], tell: Callable[[bool], None]) -> bool:
        """Queue an event for its commit; return False if too many events wait.

        Args:
            event: the event.
            listeners: its durable listeners.
            tell: called with True after the commit, with False if it failed.
        """


class Receiver:
    """Receives the events of a registry's listeners.

    Args:
        registry: the listeners.
        mode: the strictness of validation.
        duplicate_window: seconds for which duplicates of an event are recognised.
        duplicate_limit: maximum number of events remembered for that.
        recorder: commits the events of durable listeners; without one, all listeners are immediate.
        find_step: finds a step for ``event.step`` in immediate listeners.
    """

    takes_trace_contexts = False
    """True if ``receive`` heeds the trace context of a request."""

    def __init__(
        self,
        registry: Registry,
        mode: Mode,
        duplicate_window: float,
        duplicate_limit: int,
        recorder: Recorder | None = None,
        find_step: FindStep | None = None,
    ) -> None:
        self.routes = registry.routes
        self._validator = EventValidator(mode)
        self._is_valid = self._validator.is_valid
        self._strict = mode == "strict"
        self._recent: RecentEvents[Pending] = RecentEvents(duplicate_window, duplicate_limit)
        self._recorder = recorder
        self._find_step = find_step
        self._make_run = scoped_run if is_scoped() else ImmediateRun

    def receive(
        self,
        route: Route,
        body: bytes,
        content_type: str,
        deadline: float | None,
        start: Start,
        trace_context: str = "",
    ) -> Answer | Pending:
        """Receive one event.

        Args:
            route: the route of the request's path.
            body: the request's body, within the size limit.
            content_type: the request's Content-Type header, or "".
            deadline: the time at which the sender stops waiting, by ``time.monotonic()``.
            start: starts a run on the edge; returns False if the edge has no capacity.
            trace_context: of the request, for ``TracedReceiver``.

        Returns:
            The answer, or the pending event if its listeners are still running.
        """
        if self._strict and content_type.partition(";")[0].strip().lower() != "application/json":
            return problem(415, "Unsupported media type", "Send the event as application/json.")
        try:
            data = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            return _not_json(body, error)
        if type(data) is not dict:
            return problem(400, "The body is not an event", "An event is a JSON object.")
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug("Event received at %s", route.path, extra={"fields": {"body": redact(data)}})
        if not self._is_valid(data):
            return self._refused(route, data)
        name = data["eventName"]
        listeners = route.index.match(name)
        if not listeners and not route.for_subscriptions:
            logger.debug("Event %s ignored at %s: no listener", name, route.path)
            return ACCEPTED
        path, event_id = route.path, data["id"]
        pending, is_new = self._recent.claim(path, event_id, Pending(path, event_id, self._recent))
        if not is_new:
            logger.debug("Duplicate event %s %s at %s", name, event_id, path)
            return pending.again()
        if not self._strict:
            for oddity in self._validator.oddities(data):
                logger.warning("%s %s: %s", name, event_id, oddity)
        self._handle(Event(data, body, deadline, self._find_step), route, listeners, pending, start)
        return pending

    def _handle(
        self,
        event: Event,
        route: Route,
        listeners: Sequence[Listener],
        pending: Pending,
        start: Start,
    ) -> None:
        """Commit the event for its durable listeners and for subscriptions, then run the immediate listeners."""
        recorder = self._recorder
        if recorder is None:
            self._proceed(event, listeners, pending, start)
            return
        durable = [listener for listener in listeners if not listener.immediate]
        immediate = [listener for listener in listeners if listener.immediate]
        if not durable and not route.for_subscriptions:
            self._proceed(event, immediate, pending, start)
            return

        def proceed(stored: bool) -> None:
            if stored:
                self._proceed(event, immediate, pending, start)
            else:
                pending.end(NOT_STORED)

        if not recorder.record(event, durable, proceed):
            pending.end(BUSY)

    def _proceed(self, event: Event, immediate: Sequence[Listener], pending: Pending, start: Start) -> None:
        """Run the immediate listeners of an event that is stored if it has to be."""
        if not immediate:
            pending.end(ACCEPTED)
        elif not start(self._make_run(event, immediate, pending)):
            pending.end(BUSY)

    def _refused(self, route: Route, data: dict[str, object]) -> Answer:
        problems = self._validator.problems(data)
        logger.warning("Event rejected at %s: %s", route.path, "; ".join(f"{at} {what}" for at, what in problems[:5]))
        return problem(
            422,
            "The event does not match the schema",
            f"{len(problems)} problem{'s' if len(problems) > 1 else ''}, listed in errors.",
            errors=[{"pointer": at, "message": what} for at, what in problems],
        )


def _not_json(body: bytes, error: orjson.JSONDecodeError) -> Answer:
    detail = f"{error.msg} at line {error.lineno}, column {error.colno}." if body.strip() else "The body is empty."
    return problem(400, "The body is not JSON", detail)
