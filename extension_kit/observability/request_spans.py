"""Request spans: the spans of requests to the routes of event protocols, from their arrival to their answer."""

from collections.abc import Iterator
from contextlib import contextmanager

from extension_kit.observability import tracing
from extension_kit.observability.attempt_scope import LogContext, log_context


class RequestSpan:
    """The span of a request.

    Attributes:
        status: of the answer; 500 until there is one.
    """

    __slots__ = ("status",)

    def __init__(self) -> None:
        self.status = 500


@contextmanager
def request_span(method: str, route: str, traceparent: str, tracestate: str) -> Iterator[RequestSpan]:
    """Make the current span one of a request, within a ``with`` block. Without tracing there is none.

    Args:
        method: of the request, in upper case.
        route: the path as it was declared: values of its variables may be secrets.
        traceparent: the header, or ""; anything that is none begins a trace.
        tracestate: the header, or "".
    """
    told = RequestSpan()
    if (spans := tracing.spans) is None:
        yield told
        return
    span = spans.receive(method, route, tracing.as_trace_context(traceparent, tracestate))
    token = log_context.set(LogContext(trace_id=spans.trace_id_of(span)))
    try:
        with spans.within(span):
            yield told
    finally:
        log_context.reset(token)
        spans.answered(span, told.status)
