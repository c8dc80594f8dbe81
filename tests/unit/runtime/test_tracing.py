"""Where traces are made, and what is said where they cannot be."""

import pytest

from extension_kit.errors import SettingError
from extension_kit.observability import tracing
from extension_kit.runtime.tracing import TracingSettings, start_tracing
from extension_kit.settings.declare import read_settings
from tests.support.spans import exporter

__all__ = ["exporter"]  # a fixture

ENDPOINT, TRACES_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
PROTOCOL, TRACES_PROTOCOL = "OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"
COLLECTOR = {ENDPOINT: "http://collector:4318/"}


@pytest.fixture
def read(monkeypatch):
    def read(variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return read_settings(TracingSettings)

    return read


@pytest.mark.parametrize(
    ("variables", "url"),
    [
        (COLLECTOR, "http://collector:4318/v1/traces"),
        ({TRACES_ENDPOINT: "http://traces/any"}, "http://traces/any"),
        ({**COLLECTOR, TRACES_ENDPOINT: "http://traces/any"}, "http://traces/any"),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, "http://localhost:4318/v1/traces"),
        ({**COLLECTOR, "OTEL_SDK_DISABLED": "false"}, "http://collector:4318/v1/traces"),
        ({**COLLECTOR, PROTOCOL: "grpc", TRACES_PROTOCOL: "http/protobuf"}, "http://collector:4318/v1/traces"),
    ],
)
def test_an_exporter_is_configured(read, variables, url):
    settings = read(variables)
    assert settings.is_exporter_configured
    assert settings.url == url


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {ENDPOINT: ""},
        {**COLLECTOR, "OTEL_SDK_DISABLED": "TRUE"},
        {**COLLECTOR, "OTEL_TRACES_EXPORTER": "none"},
        {"OTEL_SERVICE_NAME": "oncall", PROTOCOL: "grpc"},
    ],
)
def test_no_exporter_is_configured(read, variables):
    assert not read(variables).is_exporter_configured


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({**COLLECTOR, PROTOCOL: "grpc"}, 'OTEL_EXPORTER_OTLP_PROTOCOL is "grpc": http/protobuf is allowed'),
        ({**COLLECTOR, TRACES_PROTOCOL: "grpc"}, 'OTEL_EXPORTER_OTLP_TRACES_PROTOCOL is "grpc"'),
        ({**COLLECTOR, "OTEL_TRACES_EXPORTER": "otlp, zipkin"}, 'OTEL_TRACES_EXPORTER is "zipkin": otlp or none'),
        ({ENDPOINT: "collector:4318"}, "OTEL_EXPORTER_OTLP_ENDPOINT cannot be used: write http://HOST"),
    ],
)
def test_what_cannot_be_used_is_a_warning_and_no_traces_are_made(read, caplog, variables, said):
    with pytest.raises(SettingError):
        read(variables)
    start_tracing("extension-oncall", "1.0")
    assert tracing.spans is None
    assert f"No traces: {said}" in caplog.text


PARENT = f"00-{'1' * 32}-{'2' * 16}-01"


@pytest.mark.parametrize(
    ("traceparent", "tracestate", "expected"),
    [
        ("", "a=b", ""),
        (f" {PARENT} ", "", PARENT),
        (PARENT, "a=b, c=d", f"{PARENT} a=b, c=d"),
        (PARENT, "a" * 513, PARENT),
        (PARENT, "a=\u20ac", PARENT),
        (PARENT.upper().replace("1", "A"), "", ""),
        ("x", "", ""),
        (PARENT + "-more", "", ""),
    ],
)
def test_the_trace_context_of_headers(exporter, traceparent, tracestate, expected):
    assert tracing.as_trace_context(traceparent, tracestate) == expected


def test_without_tracing_there_is_no_trace_context():
    assert tracing.as_trace_context(PARENT, "") == ""
    assert tracing.current_trace_context() is None


@pytest.mark.parametrize("kept", [None, "", "x", "00-1-2-01", PARENT[:-1]])
def test_what_is_kept_and_is_no_trace_context_has_no_trace(kept):
    assert tracing.trace_id_in(kept) is None
    assert tracing.trace_id_in(f"{PARENT} a=b") == "1" * 32
