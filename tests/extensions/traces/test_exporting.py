"""Spans go to a collector as OpenTelemetry's standard variables say, and its answer decides about the delivery."""

import logging
import ssl
import threading

import pytest
from requests import certs

from extension_kit import Event, GiveUp, NotReady, RetryLater
from extension_kit.http import CallFailed
from extension_kit.testing import EventFactory
from extensions import traces
from tests.support.certificates import authority, ca_file, tls_for
from tests.support.collectors import Collector, collector, lost, rejecting
from tests.support.receivers import drip, reply
from tests.support.servers import free_port

__all__ = ["authority", "ca_file", "collector", "tls_for"]  # fixtures

SECRET = "glc_c2VjcmV0LXRva2Vu"


@pytest.fixture
def variables(monkeypatch):
    """Set variables of OpenTelemetry, and have the extension read them when it is used next."""

    def set_(**values):
        for name, value in values.items():
            monkeypatch.setenv(f"OTEL_{name}", str(value))
        traces.extension.make_registry()

    yield set_
    traces._destination.cache_clear()


@pytest.fixture
def export(variables, collector):
    variables(EXPORTER_OTLP_ENDPOINT=collector.endpoint)
    return lambda: traces.export(event())


def event():
    return Event.from_body(EventFactory().event("experiment.execution.completed"))


def test_a_span_arrives_with_its_resource(export, collector, variables):
    variables(SERVICE_NAME="chaos", RESOURCE_ATTRIBUTES="deployment.environment.name=production,note=a%2Cb")
    export()
    [exported] = collector.exported
    assert exported.request.path == "/v1/traces"
    assert exported.resource == {"service.name": "chaos", "deployment.environment.name": "production", "note": "a,b"}


def test_the_service_has_a_name_without_settings(export, collector):
    export()
    assert collector.exported[0].resource == {"service.name": "steadybit"}


def test_a_repeated_span_is_the_same_byte_for_byte(export, collector):
    export()
    export()
    first, second = collector.exported
    assert first.body == second.body
    assert len({exported.request.peer for exported in collector.exported}) == 1  # and the connection is kept


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_requests_are_compressed_and_have_headers(export, collector, variables, encoding):
    variables(EXPORTER_OTLP_COMPRESSION=encoding, EXPORTER_OTLP_HEADERS=f"Authorization=Bearer%20{SECRET},x-scope=a")
    export()
    [request] = collector.requests
    assert request.headers["content-encoding"] == encoding
    assert (request.headers["authorization"], request.headers["x-scope"]) == (f"Bearer {SECRET}", "a")
    assert len(collector.spans) == 1


def test_variables_for_traces_go_before_those_for_everything(export, collector, variables):
    variables(
        EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1",
        EXPORTER_OTLP_TRACES_ENDPOINT=f"{collector.endpoint}/mine",
        EXPORTER_OTLP_HEADERS="x-scope=all",
        EXPORTER_OTLP_TRACES_HEADERS="x-scope=traces",
    )
    export()
    [request] = collector.requests
    assert (request.path, request.headers["x-scope"]) == ("/mine", "traces")


@pytest.fixture
def tls_collector(tls_for, authority):
    """A collector that asks for the certificates of its clients."""
    context = tls_for("127.0.0.1")
    context.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(context)
    collector = Collector(context)
    yield collector
    collector.close()


def test_both_ends_show_certificates(variables, tls_collector, ca_file, authority, tmp_path, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", certs.where())  # which OpenTelemetry's variable goes before
    variables(EXPORTER_OTLP_ENDPOINT=tls_collector.endpoint)
    with pytest.raises(CallFailed, match="certificate verify failed"):
        traces.export(event())
    traces._destination.cache_clear()
    own = authority.issue_cert("client.test")
    (tmp_path / "own.pem").write_bytes(b"".join(blob.bytes() for blob in own.cert_chain_pems))
    (tmp_path / "own.key").write_bytes(own.private_key_pem.bytes())
    variables(
        EXPORTER_OTLP_CERTIFICATE=ca_file,
        EXPORTER_OTLP_CLIENT_CERTIFICATE=tmp_path / "own.pem",
        EXPORTER_OTLP_CLIENT_KEY=tmp_path / "own.key",
    )
    traces.export(event())
    assert len(tls_collector.spans) == 1


@pytest.mark.parametrize(
    ("trouble", "error", "message"),
    [
        (reply(401), NotReady, r"refuses the credentials \(401\)"),
        (reply(403, b"wrong scope"), NotReady, "wrong scope"),
        (reply(429, Retry_After="7"), RetryLater, "429"),
        (reply(503, Retry_After="7"), RetryLater, "503"),
        (reply(429), CallFailed, "429"),
        (reply(500), CallFailed, "500"),
        (reply(502), CallFailed, "502"),
        (reply(503), CallFailed, "503"),
        (reply(400, b"no such field"), GiveUp, "no such field"),
        (reply(404), GiveUp, "404"),
        (reply(413), GiveUp, "413"),
        (reply(307, Location="/elsewhere"), GiveUp, "redirects are not followed"),
        (rejecting("too old"), GiveUp, "127.0.0.1 rejects the span: too old"),
        (lost, CallFailed, "127.0.0.1"),
        (b"no HTTP at all\r\n\r\n", CallFailed, "127.0.0.1"),
    ],
)
def test_the_answer_decides_about_the_delivery(export, collector, trouble, error, message):
    collector.troubles.append(trouble)
    with pytest.raises(error, match=message):
        export()
    assert len(collector.requests) == 1  # the kit repeats attempts, and the exporter does not
    export()
    assert len(collector.spans) == 1


def test_the_wait_that_the_collector_asks_for_is_kept(export, collector):
    collector.troubles.append(reply(503, Retry_After="7"))
    with pytest.raises(RetryLater) as raised:
        export()
    assert raised.value.seconds == 7


@pytest.mark.parametrize("answer", [reply(body=b"{}"), reply(body=b""), reply(204, Content_Length=None)])
def test_any_form_of_success_is_one(export, collector, answer):
    collector.troubles.append(answer)
    export()


def test_without_a_collector_an_attempt_fails_once(variables):
    variables(EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{free_port()}")
    with pytest.raises(CallFailed, match="refused"):
        traces.export(event())


def test_an_answer_without_an_end_is_read_to_its_limit(export, collector):
    collector.troubles.append(drip(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65536))
    export()


def test_errors_and_logs_hold_no_headers(export, collector, variables, caplog):
    caplog.set_level(logging.DEBUG)
    variables(EXPORTER_OTLP_HEADERS=f"Authorization=Bearer%20{SECRET}")
    for status in (400, 401, 500):
        collector.troubles.append(reply(status, f"bad token Bearer {SECRET}".encode()))
        with pytest.raises((GiveUp, NotReady, CallFailed)) as raised:
            export()
        assert SECRET not in str(raised.value)
    assert SECRET not in caplog.text
    assert SECRET not in repr(traces.extension.settings)


def test_threads_have_connections_of_their_own(export, collector):
    threads = [threading.Thread(target=export) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len({exported.request.peer for exported in collector.exported}) == 4
    assert len(collector.spans) == 1
