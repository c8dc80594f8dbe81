"""Spans of this process, kept in memory, and a trace that requests of tests continue."""

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sqlalchemy import select

from extension_kit.deliveries.tables import events
from extension_kit.observability import tracing
from extension_kit.observability.spans import Spans

TRACE, SENDER = 0x4BF92F3577B34DA6A3CE929D0E0E4736, 0x00F067AA0BA902B7
HEADERS = {"traceparent": f"00-{TRACE:032x}-{SENDER:016x}-01", "tracestate": "vendor=7"}


@pytest.fixture
def exporter(monkeypatch):
    """Make spans, and keep those that have ended."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(tracing, "spans", Spans(provider.get_tracer("test")))
    return exporter


def context_of(span):
    """The trace context of a span in the sender's trace, as it is kept with events."""
    assert (span.context.trace_id, span.parent.span_id) == (TRACE, SENDER)
    return f"00-{TRACE:032x}-{span.context.span_id:016x}-01 vendor=7"


def is_continued(exporter, database, name):
    """Whether the newest event is in the trace of the only request, whose span has a name."""
    (span,) = exporter.get_finished_spans()
    assert (span.name, span.attributes["http.response.status_code"]) == (name, 200)
    with database.read() as connection:
        newest = select(events.c.trace_context).order_by(events.c.ref.desc()).limit(1)
        return connection.execute(newest).scalar_one() == context_of(span)
