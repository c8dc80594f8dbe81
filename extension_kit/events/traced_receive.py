"""Traced receiver: a receiver that makes a span for each request with an event."""

from collections.abc import Sequence
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any

from extension_kit.events.answers import Answer
from extension_kit.events.event import Event
from extension_kit.events.pending import Pending
from extension_kit.events.receive import Receiver, Start
from extension_kit.events.registry import Listener, Route
from extension_kit.observability.attempt_scope import LogContext, log_context

if TYPE_CHECKING:
    from extension_kit.observability.spans import Spans


class TracedReceiver(Receiver):
    """A receiver that makes a span for each request, from its body to its answer.

    It is the current span while the event is queued for its commit, which keeps its trace context with the event, and
    the parent of the spans of immediate listeners.

    Args:
        spans: makes the spans.
        arguments: those of ``Receiver``.
    """

    takes_trace_contexts = True

    def __init__(self, spans: "Spans", *arguments: Any) -> None:
        super().__init__(*arguments)
        self._spans = spans

    def receive(
        self,
        route: Route,
        body: bytes,
        content_type: str,
        deadline: float | None,
        start: Start,
        trace_context: str = "",
    ) -> Answer | Pending:
        """Receive one event, in the trace of its request, as ``Receiver.receive`` does."""
        span = self._spans.receive("POST", route.path, trace_context)

        def receive() -> Answer | Pending:
            log_context.set(LogContext(trace_id=self._spans.trace_id_of(span)))
            with self._spans.within(span):
                return super(TracedReceiver, self).receive(route, body, content_type, deadline, start)

        try:
            outcome = copy_context().run(receive)
        except BaseException:
            self._spans.answered(span, 500)
            raise
        if isinstance(outcome, Pending):
            outcome.when_ended(lambda answer: self._spans.answered(span, answer.status))
        else:
            self._spans.answered(span, outcome.status)
        return outcome

    def _handle(
        self, event: Event, route: Route, listeners: Sequence[Listener], pending: Pending, start: Start
    ) -> None:
        self._spans.describe_event(event.name, event.id)
        context = copy_context()
        super()._handle(event, route, listeners, pending, lambda run: start(partial(context.run, run)))
