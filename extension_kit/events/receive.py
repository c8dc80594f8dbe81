"""From the bytes of a request to its answer: decode, validate, deduplicate, route, run. No framework, no I/O.

Both edges, the Flask view and the ASGI application, pass the bytes of a request to ``Receiver.receive`` and send the
answer. This is the hot path.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from typing import Protocol
from uuid import uuid4

import orjson

from extension_kit.errors import GiveUp, RetryLater
from extension_kit.events.answers import ACCEPTED, BUSY, KNOWN, NOT_STORED, TIMEOUT, Answer, problem
from extension_kit.events.duplicates import RecentEvents
from extension_kit.events.event import Event, FindStep
from extension_kit.events.registry import Listener, Registry, Route
from extension_kit.events.schema.validation import EventValidator, Mode
from extension_kit.observability.redaction import redact

logger = logging.getLogger("extension_kit.events")

_MAX_ERROR_TEXT = 500
_MAX_TIMEOUT = 86400.0


class Pending:
    """An event being handled, and its answer once it has ended.

    Thousands of ended ones are kept for duplicate detection, and each object they hold makes every garbage collection
    longer. So they hold few objects and share one lock, held for moments only.
    """

    __slots__ = ("_answer", "_event_id", "_known", "_path", "_recent", "_waiting")
    _lock = threading.Lock()

    def __init__(self, path: str, event_id: str, recent: "RecentEvents[Pending]") -> None:
        self._path = path
        self._event_id = event_id
        self._recent = recent
        self._answer: Answer | None = None
        self._known = False
        self._waiting: tuple[Callable[[Answer], None], ...] = ()

    def end(self, answer: Answer) -> None:
        """Set the answer and call the waiting callbacks. An event that failed is forgotten, so it may be sent again."""
        event_id, self._event_id = self._event_id, ""  # the object is kept for a while, and ids may be long
        if answer is not ACCEPTED:
            self._recent.forget(self._path, event_id)
        elif self._known:
            answer = KNOWN
        with self._lock:
            self._answer = answer
            waiting, self._waiting = self._waiting, ()
        for tell in waiting:
            tell(answer)

    def note_known(self) -> None:
        """Mark the event as a duplicate of one received by another process or before a restart."""
        self._known = True

    def again(self) -> "Answer | Pending":
        """Return the answer to a duplicate of this event: ``KNOWN`` if it was accepted, else the same as for this."""
        return KNOWN if self._answer is ACCEPTED else self

    def when_ended(self, tell: Callable[[Answer], None]) -> None:
        """Call ``tell`` with the answer, at once or from the thread that sets it."""
        with self._lock:
            if self._answer is None:
                self._waiting += (tell,)
                return
        tell(self._answer)

    def wait(self, timeout: float | None) -> Answer:
        """Wait for the answer, at most ``timeout`` seconds; return ``TIMEOUT`` after that."""
        if self._answer is not None:
            return self._answer
        ended = threading.Event()
        self.when_ended(lambda _: ended.set())
        ended.wait(timeout)
        return self._answer or TIMEOUT


class Run:
    """A run of the immediate listeners of one event, one after the other.

    All of them run even if one raises: a broken function must not keep an event from the others.
    """

    __slots__ = ("_event", "_listeners", "_pending")

    def __init__(self, event: Event, listeners: Sequence[Listener], pending: Pending) -> None:
        self._event = event
        self._listeners = listeners
        self._pending = pending

    def __call__(self) -> None:
        """Run the functions; never raises. Nothing runs if the sender has stopped waiting."""
        event = self._event
        if event.remaining_time == 0:
            self._pending.end(TIMEOUT)
            return
        failure = None
        for listener in self._listeners:
            try:
                listener.call(event)
            except (GiveUp, RetryLater) as error:  # decisions, not defects: no traceback
                logger.error("Listener %s failed on %s %s: %s", listener.name, event.name, event.id, text_of(error))  # noqa: TRY400
                failure = failure or _failed(error)
            except BaseException as error:  # CancelledError, too: a thread that ends is not replaced
                logger.exception("Listener %s raised on %s %s", listener.name, event.name, event.id)
                failure = failure or _failed(error)
        self._pending.end(failure or ACCEPTED)


class Recorder(Protocol):
    """Commits events of durable listeners to the database."""

    def record(
        self,
        event: Event,
        listeners: Sequence[Listener],
        tell: Callable[[bool], None],
        known: Callable[[], None],
    ) -> bool:
        """Queue an event for its commit; return False if too many events wait.

        Args:
            event: the event.
            listeners: its durable listeners.
            tell: called with True after the commit, with False if it failed.
            known: called before ``tell`` if the event was recorded for these listeners before.
        """


def _nothing() -> None:
    """Do nothing: the callback for recorded duplicates of an event with immediate listeners, which run all the same."""


def _failed(error: BaseException) -> Answer:
    return problem(500, "The event listener failed", text_of(error) or type(error).__name__)


def text_of(error: BaseException) -> str:
    """Return the text of a user's exception, shortened and printable as UTF-8; "" if ``str()`` raises."""
    try:
        return str(error)[:_MAX_ERROR_TEXT].encode(errors="backslashreplace").decode()
    except Exception:
        return ""


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

    def receive(
        self,
        route: Route,
        body: bytes,
        content_type: str,
        deadline: float | None,
        start: Callable[[Run], bool],
    ) -> Answer | Pending:
        """Receive one event.

        Args:
            route: the route of the request's path.
            body: the request's body, within the size limit.
            content_type: the request's Content-Type header, or "".
            deadline: the time at which the sender stops waiting, by ``time.monotonic()``.
            start: starts a run on the edge; returns False if the edge has no capacity.

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
        pending, is_new = self._recent.claim(path, event_id, partial(Pending, path, event_id, self._recent))
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
        start: Callable[[Run], bool],
    ) -> None:
        """Commit the event for its durable listeners and for subscriptions, then run the immediate listeners."""
        recorder = self._recorder
        durable = [listener for listener in listeners if not listener.immediate] if recorder else []
        immediate = [listener for listener in listeners if listener.immediate or not recorder]

        def proceed(stored: bool) -> None:
            if not stored:
                pending.end(NOT_STORED)
            elif not immediate:
                pending.end(ACCEPTED)
            elif not start(Run(event, immediate, pending)):
                pending.end(BUSY)

        if recorder is None or not (durable or route.for_subscriptions):
            proceed(True)
        elif not recorder.record(event, durable, proceed, _nothing if immediate else pending.note_known):
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


def parse_timeout(value: str) -> float | None:
    """Read ``Request-Timeout`` as seconds, at most a day; None if it is not a positive number.

    Steadybit's extension-kit ignores such a header, too.
    """
    try:
        seconds = float(value)
    except ValueError:
        return None
    return min(seconds, _MAX_TIMEOUT) if seconds > 0 else None


_PREFIX = uuid4().hex[:12]
_NUMBERS = count(1)


def request_id(value: str) -> str:
    """Return the sender's request id if it is fit for a header and a log line, else a new one."""
    if 0 < len(value) <= 128 and value.isascii() and value.isprintable() and " " not in value:
        return value
    return f"{_PREFIX}-{os.getpid():x}-{next(_NUMBERS):x}"  # the prefix is shared by processes forked later


def deadline_after(timeout: float) -> float:
    """Return the time ``timeout`` seconds from now, by ``time.monotonic()``."""
    return time.monotonic() + timeout
