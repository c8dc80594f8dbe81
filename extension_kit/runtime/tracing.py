"""Start of tracing: OpenTelemetry, set up by its standard variables, if it is installed and an exporter is configured.

A tracer provider that another has set up before, such as ``opentelemetry-instrument`` or a handler file, is used as it
is. Whatever keeps spans from being made is a warning, as OpenTelemetry's specification wants it: nothing else fails.
"""

import logging
import sys
from dataclasses import dataclass
from importlib.metadata import version as version_of
from typing import Any

from extension_kit.errors import SettingError
from extension_kit.observability import tracing
from extension_kit.settings.declare import TEXT, read_settings, setting, shown
from extension_kit.settings.kinds import URL

logger = logging.getLogger("extension_kit.tracing")

_PATH = "/v1/traces"  # OpenTelemetry Protocol Exporter, "Endpoint URLs for OTLP/HTTP"
_DEFAULT = "http://localhost:4318"


@dataclass(frozen=True)
class TracingSettings:
    """Variables of OpenTelemetry that decide if spans are made, and where they go. It reads the others itself."""

    disabled: str = setting("OTEL_SDK_DISABLED", "", TEXT, "`true` turns tracing off.")
    exporter: str = setting("OTEL_TRACES_EXPORTER", "", TEXT, "`otlp`, or `none`.")
    endpoint: str = setting("OTEL_EXPORTER_OTLP_ENDPOINT", "", URL, "Address of the collector.")
    traces_endpoint: str = setting("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "", URL, "The whole URL for spans.")
    protocol: str = setting("OTEL_EXPORTER_OTLP_PROTOCOL", "", TEXT, "`http/protobuf`.")
    traces_protocol: str = setting("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "", TEXT, "The same for spans.")
    headers: str = setting("OTEL_EXPORTER_OTLP_HEADERS", "", TEXT, "Headers of requests.", secret=True)
    traces_headers: str = setting("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "", TEXT, "Those for spans.", secret=True)

    def __post_init__(self) -> None:
        protocol = self.traces_protocol or self.protocol
        if self.is_exporter_configured and protocol not in ("", "http/protobuf"):
            name = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL" if self.traces_protocol else "OTEL_EXPORTER_OTLP_PROTOCOL"
            raise SettingError(
                f"{name} is {shown(protocol)}: http/protobuf is allowed, for which collectors have a port of its own, "
                "usually 4318"
            )
        if unknown := self._exporters - {"otlp", "none"}:
            raise SettingError(f"OTEL_TRACES_EXPORTER is {shown(min(unknown))}: otlp or none is allowed")

    @property
    def _exporters(self) -> set[str]:
        return {word.strip().lower() for word in self.exporter.split(",") if word.strip()}

    @property
    def is_disabled(self) -> bool:
        """True if no spans are to be made, whoever would export them."""
        return self.disabled.strip().lower() == "true" or "none" in self._exporters

    @property
    def is_exporter_configured(self) -> bool:
        """True if spans have a place to go to."""
        return not self.is_disabled and bool(self._exporters or self.endpoint or self.traces_endpoint)

    @property
    def url(self) -> str:
        """The URL to which spans are sent."""
        return self.traces_endpoint or (self.endpoint or _DEFAULT).removesuffix("/") + _PATH


def start_tracing(name: str, version: str) -> None:
    """Have this process make spans, if it is to make any. A second call changes nothing.

    Args:
        name: the name of the service, unless the environment has another.
        version: its version.
    """
    if tracing.spans is not None:
        return
    try:
        settings = read_settings(TracingSettings)
        provider = None if settings.is_disabled else _provider_of_others()
        if provider is None:
            if not settings.is_exporter_configured:
                return
            # Imported here: most processes make no spans, and OpenTelemetry may not be installed.
            from extension_kit.runtime.span_export import make_provider

            provider = make_provider(name, version, settings.url, settings.traces_headers or settings.headers)
        from extension_kit.observability.spans import Spans
    except ImportError as error:
        logger.warning("No traces: %s is not installed: pip install 'extension-kit[otel]'", error.name)
    except SettingError as error:
        logger.warning("No traces: %s", error)
    else:
        tracing.spans = Spans(provider.get_tracer("extension_kit", version_of("extension-kit")))
        logger.debug("Traces are made")


def _provider_of_others() -> Any:
    """Return the tracer provider that another has set for this process; None if there is none."""
    if (api := sys.modules.get("opentelemetry.trace")) is None:
        return None
    provider = api.get_tracer_provider()
    return None if isinstance(provider, api.ProxyTracerProvider | api.NoOpTracerProvider) else provider
