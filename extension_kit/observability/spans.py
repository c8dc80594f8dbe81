"""Spans: those that the kit makes, by OpenTelemetry. Imported only if there is an exporter for them.

Names of spans and attributes follow OpenTelemetry's semantic conventions where these have one; the others begin with
``extension_kit.``. Addresses appear as host and port only: paths and queries of webhooks are secrets.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Literal

from opentelemetry import context as otel_context
from opentelemetry.trace import (
    INVALID_SPAN,
    Span,
    SpanKind,
    StatusCode,
    Tracer,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from extension_kit.observability.redaction import beginning

Attributes = Mapping[str, str | int]

logger = logging.getLogger("extension_kit.tracing")

_ERROR_CHARACTERS = 500
_TEXT_CHARACTERS = 255  # of a name and an id, which wait in the memory for the exporter
_w3c = TraceContextTextMapPropagator()


class Spans:
    """The spans of a process.

    Args:
        tracer: makes them.
    """

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def receive(self, method: str, route: str, trace_context: str) -> Span:
        """Begin the span of a request.

        Args:
            method: of the request, in upper case.
            route: the path of the event's listeners, or that of a protocol's route as it was declared.
            trace_context: of the request, as text; anything that is not one begins a trace.
        """
        attributes = {"http.request.method": method, "http.route": route}
        return self._start(f"{method} {route}", SpanKind.SERVER, attributes, _extracted(trace_context))

    def answered(self, span: Span, status: int) -> None:
        """End the span of a request with the status of its answer."""
        span.set_attribute("http.response.status_code", status)
        if status >= 500:
            self.fail(span, f"{status}", None)
        self.end(span)

    def file(self, trace_context: str, event_name: str, event_id: str, started: int, ended: int) -> None:
        """Make the span of an event that was filed, together with others; times are in nanoseconds since 1970."""
        attributes = _event_attributes(event_name, event_id)
        span = self._start("file", SpanKind.INTERNAL, attributes, _extracted(trace_context), started)
        self.end(span, ended)

    def attempt(
        self,
        listener: str,
        event_name: str,
        event_id: str,
        number: int,
        trace_context: str | None,
        started: datetime | None,
    ) -> Span:
        """Begin the span of an attempt, now or at a time; without a trace context of its event it begins a trace."""
        return self._start(
            f"attempt {listener}",
            SpanKind.CONSUMER,
            {
                "extension_kit.listener": listener,
                **_event_attributes(event_name, event_id),
                "extension_kit.attempt": number,
            },
            _extracted(trace_context or ""),
            None if started is None else round(started.timestamp() * 1_000_000) * 1000,
        )

    @contextmanager
    def call(self, name: str, kind: Literal["client", "producer"], attributes: Attributes) -> Iterator[Span]:
        """Make the current span one of a call to another system, within a ``with`` block."""
        span = self._start(name, SpanKind[kind.upper()], attributes)
        try:
            with self.within(span):
                yield span
        except BaseException as error:
            self.fail(span, type(error).__name__, None)  # its text may repeat what the other system was sent
            raise
        finally:
            self.end(span)

    def fail(self, span: Span, kind: str, error: str | None) -> None:
        """Mark a span as failed.

        Args:
            span: the span.
            kind: of the error: a status, a result, or the name of an exception.
            error: its text, of which recognised secrets are hidden.
        """
        span.set_attribute("error.type", kind)
        span.set_status(StatusCode.ERROR, beginning(error or kind, _ERROR_CHARACTERS))

    def end(self, span: Span, at: int | None = None) -> None:
        """End a span, now or at a time in nanoseconds since 1970. It raises nothing, whatever processes the span."""
        try:
            span.end(at)
        except Exception:
            logger.exception("A span is lost")

    def _start(
        self,
        name: str,
        kind: SpanKind,
        attributes: Attributes,
        parent: otel_context.Context | None = None,
        at: int | None = None,
    ) -> Span:
        """Begin a span. Samplers and processors may be others' and raise anything: there is no span then."""
        try:
            return self._tracer.start_span(name, parent, kind, attributes, start_time=at)
        except Exception:
            logger.exception("A span is lost")
            return INVALID_SPAN

    @contextmanager
    def within(self, span: Span) -> Iterator[None]:
        """Make a span the current one, within a ``with`` block. The span goes on after it."""
        token = otel_context.attach(set_span_in_context(span))
        try:
            yield
        finally:
            otel_context.detach(token)

    def describe_event(self, name: str, id: str) -> None:
        """Add the attributes of an event to the current span."""
        get_current_span().set_attributes(_event_attributes(name, id))

    def current_headers(self) -> dict[str, str]:
        """Return ``traceparent`` and ``tracestate`` of the current span, in this order; empty without one."""
        headers: dict[str, str] = {}
        _w3c.inject(headers)
        return headers

    def trace_id_of(self, span: Span) -> str:
        """Return the id of a span's trace, in 32 hexadecimal digits."""
        return f"{span.get_span_context().trace_id:032x}"


def _event_attributes(name: str, id: str) -> dict[str, str]:
    return {"extension_kit.event_name": name[:_TEXT_CHARACTERS], "extension_kit.event_id": id[:_TEXT_CHARACTERS]}


def _extracted(trace_context: str) -> otel_context.Context:
    traceparent, _, tracestate = trace_context.partition(" ")
    carrier = {"traceparent": traceparent}
    if tracestate:
        carrier["tracestate"] = tracestate
    return _w3c.extract(carrier, otel_context.Context())
