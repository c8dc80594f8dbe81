"""Messages in the traces of their publishers."""

import pytest

from extensions.jetstream.cloud_events import read_cloud_event
from tests.support.spans import HEADERS, exporter

__all__ = ["exporter"]  # a fixture

BODY = b'{"specversion":"1.0","id":"7","source":"/shop","type":"a"}'


def test_an_event_continues_the_trace_of_its_message(exporter):
    expected = f"{HEADERS['traceparent']} vendor=7"
    assert read_cloud_event("orders", HEADERS, BODY).trace_context == expected
    assert (
        read_cloud_event("orders", {**HEADERS, "tracestate": "v" * 513}, BODY).trace_context == HEADERS["traceparent"]
    )


@pytest.mark.parametrize("value", ["", "x", "00-\x00-1-1", HEADERS["traceparent"] + "-", "a-" + "z" * 60_000])
def test_what_is_no_trace_context_is_not_kept(exporter, value):
    assert read_cloud_event("orders", {"traceparent": value}, BODY).trace_context == ""


def test_without_tracing_none_is_kept():
    assert read_cloud_event("orders", HEADERS, BODY).trace_context == ""
