"""Pending events: an event from its reception to its answer, and the run of its immediate listeners."""

import logging
import threading
from collections.abc import Callable, Sequence

from extension_kit.errors import GiveUp, RetryLater
from extension_kit.events.answers import ACCEPTED, KNOWN, TIMEOUT, Answer, problem
from extension_kit.events.duplicates import RecentEvents
from extension_kit.events.event import Event
from extension_kit.events.listener import Listener
from extension_kit.observability.attempt_scope import AttemptScope
from extension_kit.observability.tracing import current_trace_context

logger = logging.getLogger("extension_kit.events")

_MAX_ERROR_TEXT = 500
_FOR_EVER = -1


class Pending:
    """An event being handled, and its answer once it has ended.

    Thousands of ended ones are kept for duplicate detection, and each object they hold makes every garbage collection
    longer. So they hold few objects and share one lock, held for moments only.
    """

    __slots__ = ("_answer", "_event_id", "_path", "_recent", "_waiting")
    _lock = threading.Lock()

    def __init__(self, path: str, event_id: str, recent: "RecentEvents[Pending]") -> None:
        self._path = path
        self._event_id = event_id
        self._recent = recent
        self._answer: Answer | None = None
        self._waiting: tuple[Callable[[Answer], None], ...] = ()

    def end(self, answer: Answer) -> None:
        """Set the answer and call the waiting callbacks. An event that failed is forgotten, so it may be sent again."""
        event_id, self._event_id = self._event_id, ""  # the object is kept for a while, and ids may be long
        if answer is not ACCEPTED:
            self._recent.forget(self._path, event_id)
        with self._lock:
            self._answer = answer
            waiting, self._waiting = self._waiting, ()
        for tell in waiting:
            tell(answer)

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
        ended = threading.Lock()  # an Event would hold a condition and two locks
        ended.acquire()
        self.when_ended(lambda _: ended.release())
        ended.acquire(timeout=_FOR_EVER if timeout is None else min(timeout, threading.TIMEOUT_MAX))
        return self._answer or TIMEOUT


class ImmediateRun:
    """A run of the immediate listeners of one event, one after the other.

    All of them run even if one raises: a broken function must not keep an event from the others.
    """

    __slots__ = ("_event", "_listeners", "_pending")

    def __init__(self, event: Event, listeners: "Sequence[Listener | _ScopedListener]", pending: Pending) -> None:
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


class _ScopedListener:
    """An immediate listener of which each call has the scope of an attempt, in the trace of the request."""

    __slots__ = ("_listener", "name")

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self.name = listener.name

    def call(self, event: Event) -> None:
        scope = AttemptScope(self._listener.key, event.name, event.id, 1, current_trace_context())
        try:
            scope.run(self._listener.call, event)
        except BaseException as error:
            scope.end("failed", f"{type(error).__name__}: {text_of(error)}")
            raise
        scope.end("delivered", None)


def scoped_run(event: Event, listeners: Sequence[Listener], pending: Pending) -> ImmediateRun:
    """Make an immediate run that calls functions within scopes."""
    return ImmediateRun(event, [_ScopedListener(listener) for listener in listeners], pending)


def _failed(error: BaseException) -> Answer:
    return problem(500, "The event listener failed", text_of(error) or type(error).__name__)


def text_of(error: BaseException) -> str:
    """Return the text of a user's exception, shortened and printable as UTF-8; "" if ``str()`` raises."""
    try:
        return str(error)[:_MAX_ERROR_TEXT].encode(errors="backslashreplace").decode()
    except Exception:
        return ""
