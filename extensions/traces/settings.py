"""Settings of the extension: the standard variables of OpenTelemetry, checked at the start."""

from dataclasses import dataclass

from opentelemetry.util.re import parse_env_headers

from extension_kit.protocol import FILE, TEXT, URL, Kind, SettingError, one_of, seconds, setting

_PATH = "/v1/traces"  # OpenTelemetry Protocol Exporter, "Endpoint URLs for OTLP/HTTP"


def _headers(text: str) -> tuple[tuple[str, str], ...]:
    headers = parse_env_headers(text, liberal=True)
    pairs = [pair for pair in text.split(",") if pair.strip()]
    if len(headers) != len(pairs) or not all(value.isascii() and value.isprintable() for value in headers.values()):
        raise ValueError(text)
    return tuple(headers.items())


def _attributes(text: str) -> str:
    if not all("=" in pair.strip("= ") for pair in text.split(",")):
        raise ValueError(text)
    return text


_HEADERS = Kind(_headers, "name=value, separated by commas, with other characters as %2C")
_ATTRIBUTES = Kind(_attributes, "name=value, separated by commas, with other characters as %2C")


@dataclass(frozen=True)
class TracesSettings:
    """Settings of the extension. The exporter reads most of them itself; all of them are checked here."""

    endpoint: str = setting(
        "OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318", URL,
        f"Address of the collector, to which `{_PATH}` is added.")  # fmt: skip
    traces_endpoint: str = setting(
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "", URL,
        "Address to which spans are sent as it is, in place of the one above.")  # fmt: skip
    headers: tuple[tuple[str, str], ...] = setting(
        "OTEL_EXPORTER_OTLP_HEADERS", (), _HEADERS,
        "Headers of each request, such as `Authorization=Bearer%20...`.", secret=True)  # fmt: skip
    traces_headers: tuple[tuple[str, str], ...] = setting(
        "OTEL_EXPORTER_OTLP_TRACES_HEADERS", (), _HEADERS,
        "Headers in place of those above.", secret=True)  # fmt: skip
    protocol: str = setting(
        "OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf", one_of("http/protobuf"),
        "Protocol of the collector. gRPC is not spoken: collectors have another port for HTTP, usually 4318.",
    )  # fmt: skip
    timeout: float = setting(
        "OTEL_EXPORTER_OTLP_TIMEOUT", 10.0, seconds(0.1, 300),
        "Seconds that the collector has to answer; less than `EXTENSION_FUNCTION_TIMEOUT`.")  # fmt: skip
    compression: str = setting(
        "OTEL_EXPORTER_OTLP_COMPRESSION", "none", one_of("none", "gzip", "deflate"),
        "Compression of requests.")  # fmt: skip
    certificate: str = setting(
        "OTEL_EXPORTER_OTLP_CERTIFICATE", "", FILE,
        "CA certificates to trust in place of the usual ones.")  # fmt: skip
    client_certificate: str = setting(
        "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "", FILE,
        "Certificate to show to the collector.")  # fmt: skip
    client_key: str = setting(
        "OTEL_EXPORTER_OTLP_CLIENT_KEY", "", FILE,
        "Private key of that certificate.")  # fmt: skip
    service_name: str = setting(
        "OTEL_SERVICE_NAME", "steadybit", TEXT,
        "`service.name` of all spans.")  # fmt: skip
    resource_attributes: str = setting(
        "OTEL_RESOURCE_ATTRIBUTES", "", _ATTRIBUTES,
        "More attributes of the resource, such as `deployment.environment.name=production`.")  # fmt: skip

    def __post_init__(self) -> None:
        if self.client_key and not self.client_certificate:
            raise SettingError(
                "OTEL_EXPORTER_OTLP_CLIENT_KEY is set without OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE: set both, or none"
            )

    @property
    def url(self) -> str:
        """The URL to which spans are sent."""
        return self.traces_endpoint or self.endpoint.removesuffix("/") + _PATH
