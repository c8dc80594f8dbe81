"""From the bytes of a request to its answer: decode, validate, deduplicate, route, run. No framework, no I/O.

Both edges, the Flask view and the ASGI application, hand their bytes to ``Receiver.receive`` and send what comes back;
this is the hot path.
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
    """An event that is being handled, and the answer that comes of it.

    Thousands of them are remembered when they have ended, and each object they hold makes every garbage collection
    longer. So they hold few, and share a lock, which is only ever taken for a moment.
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
        """Settle the answer and tell those who wait; an event that was not handled may be sent again."""
        event_id, self._event_id = self._event_id, ""  # this is remembered for a while, and ids may be long
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
        """Take note that the event has come before, to another process or before a restart."""
        self._known = True

    def again(self) -> "Answer | Pending":
        """What an event that comes again is answered with: the same, and where nothing went wrong that it is known."""
        return KNOWN if self._answer is ACCEPTED else self

    def when_ended(self, tell: Callable[[Answer], None]) -> None:
        """Call ``tell`` with the answer, at once or from the thread that ends it."""
        with self._lock:
            if self._answer is None:
                self._waiting += (tell,)
                return
        tell(self._answer)

    def wait(self, timeout: float | None) -> Answer:
        """Wait for the answer, at most ``timeout`` seconds; then it is the one that says so."""
        if self._answer is not None:
            return self._answer
        ended = threading.Event()
        self.when_ended(lambda _: ended.set())
        ended.wait(timeout)
        return self._answer or TIMEOUT


class Run:
    """The immediate functions that one event is for, run one after the other.

    All of them run even if one raises: a broken function must not keep an event from the others.
    """

    __slots__ = ("_event", "_listeners", "_pending")

    def __init__(self, event: Event, listeners: Sequence[Listener], pending: Pending) -> None:
        self._event = event
        self._listeners = listeners
        self._pending = pending

    def __call__(self) -> None:
        """Run the functions; never raises. Where the sender has stopped waiting by now, nothing is run."""
        event = self._event
        if event.remaining_time == 0:
            self._pending.end(TIMEOUT)
            return
        failure = None
        for listener in self._listeners:
            try:
                listener.call(event)
            except (GiveUp, RetryLater) as error:  # a decision, no mistake; of no other use here, where nobody retries
                logger.error("%s failed on %s %s: %s", listener.name, event.name, event.id, text_of(error))  # noqa: TRY400
                failure = failure or _failed(error)
            except BaseException as error:  # CancelledError, too: a thread that ends is not replaced
                logger.exception("%s raised on %s %s", listener.name, event.name, event.id)
                failure = failure or _failed(error)
        self._pending.end(failure or ACCEPTED)


class Recorder(Protocol):
    """Where events for durable listeners are committed."""

    def record(
        self,
        event: Event,
        listeners: Sequence[Listener],
        tell: Callable[[bool], None],
        known: Callable[[], None],
    ) -> bool:
        """Commit an event, and tell later whether that succeeded; False where too many wait for it.

        Before that, ``known`` is called where the event is found to have been recorded for these listeners before.
        """


def _nothing() -> None:
    """Done where an event is known, but not to the immediate listeners, which are run."""


def _failed(error: BaseException) -> Answer:
    return problem(500, "The event listener failed", text_of(error) or type(error).__name__)


def text_of(error: BaseException) -> str:
    """The text of a user's exception, bounded, whatever it holds and even if it cannot be made."""
    try:
        return str(error)[:_MAX_ERROR_TEXT].encode(errors="backslashreplace").decode()
    except Exception:
        return ""


class Receiver:
    """Receives the events of a registry's listeners.

    Args:
        registry: the listeners.
        mode: how bodies are validated.
        duplicate_window: seconds for which an event that comes again is known.
        duplicate_limit: how many events are remembered for that at most.
        recorder: takes the events of durable listeners; without one, all listeners are immediate.
        find_step: how ``event.step`` finds a step for immediate listeners.
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
            route: what the request's path belongs to.
            body: the request's body, within the size limit.
            content_type: the request's Content-Type header, or "".
            deadline: when the sender stops waiting, by ``time.monotonic()``.
            start: how the edge has a run executed; it says False where there is no room for one.

        Returns:
            The answer, or what will give it.
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
            logger.debug("received at %s", route.path, extra={"fields": {"body": redact(data)}})
        if not self._is_valid(data):
            return self._refused(route, data)
        name = data["eventName"]
        listeners = route.index.match(name)
        if not listeners and not route.for_subscriptions:
            logger.debug("%s: no listener at %s wants it, ignored", name, route.path)
            return ACCEPTED
        path, event_id = route.path, data["id"]
        pending, is_new = self._recent.claim(path, event_id, partial(Pending, path, event_id, self._recent))
        if not is_new:
            logger.debug("%s %s came again at %s", name, event_id, path)
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
        logger.warning("event refused at %s: %s", route.path, "; ".join(f"{at} {what}" for at, what in problems[:5]))
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
    """Read ``Request-Timeout``: seconds as a float; None for what is not a positive number, which is ignored.

    (Steadybit's extension-kit treats the header so.)
    """
    try:
        seconds = float(value)
    except ValueError:
        return None
    return min(seconds, _MAX_TIMEOUT) if seconds > 0 else None


_PREFIX = uuid4().hex[:12]
_NUMBERS = count(1)


def request_id(value: str) -> str:
    """Return the sender's request id where it is fit for a header and a log line, else a new one."""
    if 0 < len(value) <= 128 and value.isascii() and value.isprintable() and " " not in value:
        return value
    return f"{_PREFIX}-{os.getpid():x}-{next(_NUMBERS):x}"  # the prefix is shared by processes forked later


def deadline_after(timeout: float) -> float:
    """When ``timeout`` seconds from now are over, by ``time.monotonic()``."""
    return time.monotonic() + timeout
