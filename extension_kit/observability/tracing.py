"""Tracing: the spans of this process, by OpenTelemetry, if it is installed and an exporter is configured.

``spans`` is set once, at the start of a process. Without it nothing else of this feature runs, and OpenTelemetry is
not imported. A trace context is kept as text, as W3C Trace Context writes it: the header ``traceparent``, and behind a
blank ``tracestate``, if there is one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from extension_kit.observability.spans import Spans

spans: Spans | None = None
"""Makes the spans of this process; None: there are none."""


def as_trace_context(traceparent: str, tracestate: str) -> str:
    """Return the trace context of the headers of a request; "" without ``traceparent``."""
    return f"{traceparent.strip()} {tracestate.strip()}".strip() if traceparent else ""


def current_trace_context() -> str | None:
    """Return the trace context of the current span, to be kept with an event; None without one."""
    return None if spans is None else " ".join(spans.current_headers().values()) or None
