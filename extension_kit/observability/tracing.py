"""Tracing: the spans of this process, by OpenTelemetry, if it is installed and an exporter is configured.

``spans`` is set once, at the start of a process. Without it nothing else of this feature runs, and OpenTelemetry is
not imported. A trace context is kept as text, as W3C Trace Context writes it: the header ``traceparent``, and behind a
blank ``tracestate``, if there is one.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from extension_kit.observability.spans import Spans

spans: Spans | None = None
"""Makes the spans of this process; None: there are none."""


_read_parent = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}").fullmatch
_is_state = re.compile(r"[\x20-\x7e]{1,512}").fullmatch  # W3C Trace Context: longer ones need not be passed on


def as_trace_context(traceparent: str, tracestate: str) -> str:
    """Return the trace context of the headers of a request, or of a message.

    It is "" where no spans are made, and for a ``traceparent`` that is none by W3C Trace Context.
    """
    parent, state = traceparent.strip(), tracestate.strip()
    if spans is None or not _read_parent(parent):
        return ""
    return f"{parent} {state}" if _is_state(state) else parent


def trace_id_in(trace_context: str | None) -> str | None:
    """Return the id of the trace in a trace context; None without one."""
    found = _read_parent(trace_context.partition(" ")[0]) if trace_context else None
    return found[1] if found else None


def current_trace_context() -> str | None:
    """Return the trace context of the current span, to be kept with an event; None without one."""
    return None if spans is None else " ".join(spans.current_headers().values()) or None
