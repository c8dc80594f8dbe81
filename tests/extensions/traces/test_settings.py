"""Wrong settings end the start with one line that says what to write."""

import pytest

from extension_kit import SettingError
from extensions import traces

CERTIFICATE, KEY = "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "OTEL_EXPORTER_OTLP_CLIENT_KEY"


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318", "http://HOST"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://user:secret@collector", "user name"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "http/protobuf is allowed"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "10000", "seconds from 0.1 to 300"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd", "none, gzip or deflate"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere/ca.pem", "readable text file"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "Bearer secret", "name=value"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=secret%0Ab", "name=value"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=b, secret", "name=value"),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "a=b;secret", "name=value"),
        ("OTEL_RESOURCE_ATTRIBUTES", "production", "name=value"),
        (KEY, __file__, f"without {CERTIFICATE}"),
    ],
)
def test_a_wrong_setting_is_refused(monkeypatch, caplog, variable, value, said):
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingError) as raised:
        traces.extension.make_registry()
    assert variable in str(raised.value)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)
    assert "secret" not in str(raised.value) + caplog.text


def test_headers_may_be_in_a_file(monkeypatch, tmp_path):
    path = tmp_path / "headers"
    path.write_text("Authorization=Bearer%20secret\n")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS_FILE", str(path))
    traces.extension.make_registry()
    assert traces.extension.settings.headers == (("authorization", "Bearer secret"),)
