"""Calls to other systems in a trace: their spans, and the headers that continue it there."""

import pytest
from opentelemetry.trace import SpanKind, StatusCode

from extension_kit.senders import Outcome
from extension_kit.senders.http import HttpSender
from extension_kit.senders.nats import NatsSender
from extension_kit.senders.traced import traced
from tests.support.nats import make_nats, nats_server
from tests.support.receivers import Receiver, local_addresses, message, reply
from tests.support.spans import exporter

__all__ = ["exporter", "make_nats", "nats_server"]  # fixtures

OWN = f"00-{'11' * 16}-{'22' * 8}-01"


@pytest.fixture
def receiver():
    receiver = Receiver()
    yield receiver
    receiver.server.close()


@pytest.fixture
def sender():
    sender = HttpSender(local_addresses())
    yield sender
    sender.close()


def test_a_webhook_gets_the_trace_of_its_span_which_hides_its_path(exporter, receiver, sender):
    sender.send({"url": receiver.url("/hooks/hush?key=hush")}, message())
    (span,) = exporter.get_finished_spans()
    (request,) = receiver.requests
    sent = f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-{span.context.trace_flags:02x}"
    assert request.headers["traceparent"] == sent
    assert (span.name, span.kind, span.status.status_code) == ("POST", SpanKind.CLIENT, StatusCode.UNSET)
    assert span.attributes["server.port"] == receiver.port
    assert "hush" not in span.to_json()


def test_a_header_of_the_target_stays(exporter, receiver, sender):
    sender.send({"url": receiver.url(), "headers": {"TraceParent": OWN}}, message())
    assert receiver.requests[0].headers["traceparent"] == OWN


def test_answers_and_errors_of_failures_are_in_spans(exporter, receiver, sender):
    receiver.answer = lambda request: reply(503)
    sender.send({"url": receiver.url()}, message())
    receiver.server.close()
    sender.send({"url": receiver.url()}, message())
    answered, failed = exporter.get_finished_spans()
    assert answered.attributes["http.response.status_code"] == 503
    assert answered.status.status_code is failed.status.status_code is StatusCode.ERROR
    assert failed.attributes["error.type"] == "NoConnectionError"


def test_without_tracing_nothing_is_added(receiver, sender):
    sender.send({"url": receiver.url()}, message())
    assert "traceparent" not in receiver.requests[0].headers


@pytest.mark.parametrize("with_headers", [True, False])
def test_a_message_is_sent_within_a_span(exporter, with_headers):
    class Sender:
        @traced("publish", {"messaging.system": "any"}, with_headers=with_headers)
        def send(self, target, message):
            self.sent = message
            return Outcome("failed", "refused by secret=hush", 550)

    sender = Sender()
    assert sender.send({}, message(headers={"a": "b"})).status == 550
    (span,) = exporter.get_finished_spans()
    assert ("traceparent" in sender.sent.headers) == with_headers
    assert sender.sent.headers["a"] == "b"
    assert (span.name, span.kind, span.attributes["error.type"]) == ("publish", SpanKind.PRODUCER, "550")
    assert "hush" not in span.to_json()


def test_a_message_to_nats_has_the_trace_of_its_span(exporter, nats_server):
    nats_server.add_stream("EVENTS", "events.>")
    sender = NatsSender(local_addresses())
    try:
        target = {"url": f"nats://nats.test:{nats_server.port}", "subject": "events.runs"}
        assert sender.send(target, message()) == Outcome("delivered")
    finally:
        sender.close()
    (span,) = exporter.get_finished_spans()
    (stored,) = nats_server.stored("EVENTS")
    assert f"{span.context.trace_id:032x}-{span.context.span_id:016x}" in stored.headers["traceparent"]
    assert (span.kind, span.attributes["messaging.system"]) == (SpanKind.PRODUCER, "nats")
