"""Attempt scope: the span of an attempt, and the fields of log lines that are written during it.

It is a context of ``contextvars``, so that it holds for the calls of a function, in its thread or its task, and for
``asyncio.to_thread``; threads that a function starts by itself have none.
"""

import logging
from collections.abc import Callable
from contextvars import ContextVar, copy_context
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple, ParamSpec, TypeVar

from extension_kit.observability import tracing

if TYPE_CHECKING:
    from opentelemetry.trace import Span

P = ParamSpec("P")
T = TypeVar("T")

_FAILURES = ("failed", "refused", "lost")


class LogContext(NamedTuple):
    """Fields of log lines: the listener and the event of an attempt, its number, and the trace; None: there is none."""

    listener: str | None = None
    event_id: str | None = None
    attempt: int | None = None
    trace_id: str | None = None


log_context: ContextVar[LogContext | None] = ContextVar("log_context", default=None)
"""The fields of log lines that are written now."""

shows_log_context = False
"""True if log lines of this process have these fields. It is set once, at the start."""


def is_scoped() -> bool:
    """Return True if attempts in this process have a scope: for spans, or for log lines."""
    return shows_log_context or tracing.spans is not None


class AttemptScope:
    """The scope of one attempt.

    Args:
        listener: the key of the listener.
        event_name: the name of the event.
        event_id: its id.
        number: of the attempt.
        trace_context: of the event; None without one.
        started: the time of its begin, aware; None: now.
    """

    def __init__(
        self,
        listener: str,
        event_name: str,
        event_id: str,
        number: int,
        trace_context: str | None,
        started: datetime | None = None,
    ) -> None:
        self._span: Span | None = None
        trace_id = tracing.trace_id_in(trace_context)
        if (spans := tracing.spans) is not None:
            self._span = spans.attempt(listener, event_name, event_id, number, trace_context, started)
            trace_id = spans.trace_id_of(self._span)
        self._log_context = LogContext(listener, event_id, number, trace_id)

    def run(self, function: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
        """Call a function within the scope. Tasks that the function begins are in the scope, too, after its return."""

        def call() -> T:
            log_context.set(self._log_context)
            if self._span is None or tracing.spans is None:
                return function(*args, **options)
            with tracing.spans.within(self._span):
                return function(*args, **options)

        return copy_context().run(call)

    def end(self, result: str, error: str | None) -> None:
        """End the span with the result of the attempt, unless it has ended."""
        span, spans = self._span, tracing.spans
        if span is None or spans is None or not span.is_recording():
            return
        span.set_attribute("extension_kit.result", result)
        if result in _FAILURES:
            spans.fail(span, result, error)
        spans.end(span)


def log_with(context: LogContext) -> dict[str, LogContext]:
    """Return what to give ``logger.info(..., extra=...)`` for a line outside the scope of its attempt."""
    return {"log_context": context}


def context_of(record: logging.LogRecord) -> LogContext | None:
    """Return the fields of a log record: those given by ``log_with``, else those of the scope."""
    given = getattr(record, "log_context", None)
    return given if isinstance(given, LogContext) else log_context.get()
