"""Export of spans: OpenTelemetry's tracer provider of this process, with its exporter for OTLP over HTTP.

Spans wait in a bounded queue for a thread that sends them: a collector that hangs costs spans, and nothing else. A
process that ends gives the last ones a limited time.
"""

import atexit
import logging
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import requests
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.util.re import parse_env_headers

from extension_kit.errors import SettingError
from extension_kit.observability.redaction import beginning

logger = logging.getLogger("extension_kit.tracing")

_STOP_TIMEOUT = 2.0  # seconds for the last spans of a process
_REPORT = 60.0  # seconds between two lines about spans that are lost
_SHOWN_CHARACTERS = 200
_ATTRIBUTE = 4096  # characters of an attribute, as spans wait in the memory

# Failures are told here, each minute instead of each time; and the parser of headers repeats wrong ones: secrets.
for _name in (
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.exporter.otlp.proto.http._common",
    "opentelemetry.util.re",
):
    logging.getLogger(_name).disabled = True


def make_provider(name: str, version: str, url: str, headers: str) -> TracerProvider:
    """Make the tracer provider of this process, which functions find by OpenTelemetry's API, too.

    Args:
        name: the name of the service, unless the environment has another.
        version: its version.
        url: takes the spans.
        headers: of each request, as the environment has them.

    Raises:
        SettingError: a variable of OpenTelemetry has a value that it cannot use.
    """
    own = {SERVICE_NAME: name, SERVICE_VERSION: version}
    try:
        resource = Resource.create({**own, **OTELResourceDetector().detect().attributes})
        processor = _Processor(_Exporter(url, headers))
        # It would wait for half a minute at the end of the process.
        provider = TracerProvider(
            resource=resource, shutdown_on_exit=False, span_limits=SpanLimits(max_span_attribute_length=_ATTRIBUTE)
        )
    except ValueError as error:
        raise SettingError(f"OpenTelemetry cannot use its variables: {beginning(str(error), 200)}") from None
    provider.add_span_processor(processor)
    trace.set_tracer_provider(provider)
    atexit.register(processor.stop)
    return provider


class _Processor(BatchSpanProcessor):
    """OpenTelemetry's own processor, which can be stopped in time."""

    def stop(self) -> None:
        """Send the spans that wait, for a limited time."""
        self._batch_processor.shutdown(timeout_millis=int(_STOP_TIMEOUT * 1000))


class _Exporter(SpanExporter):
    """OpenTelemetry's own exporter, which tells of lost spans in one line a minute.

    Args:
        url: takes the spans.
        headers: of each request, as the environment has them.
    """

    def __init__(self, url: str, headers: str) -> None:
        self._host = urlsplit(url).hostname or ""
        self._session = _Session()
        parsed = parse_env_headers(headers, liberal=True) if headers else None
        self._exporter = OTLPSpanExporter(url, headers=parsed, session=self._session)
        self._lost = 0
        self._report_at = 0.0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self._session.reason = ""
        try:
            result = self._exporter.export(spans)
        except Exception as error:
            result, self._session.reason = SpanExportResult.FAILURE, type(error).__name__
        if result is not SpanExportResult.SUCCESS:
            self._report(len(spans))
        return result

    def _report(self, number: int) -> None:
        self._lost += number
        now = time.monotonic()
        if now >= self._report_at:
            self._report_at = now + _REPORT
            logger.warning("%d spans lost: %s: %s", self._lost, self._host, self._session.reason or "not sent")
            self._lost = 0

    def shutdown(self) -> None:
        self._exporter.shutdown()  # type: ignore[no-untyped-call]


class _Session(requests.Session):
    """Makes the requests of the exporter, and keeps the last answer or error, which the exporter does not tell."""

    reason = ""

    def request(self, *arguments: Any, **options: Any) -> requests.Response:
        try:
            response = super().request(*arguments, **options)
        except Exception as error:
            reason = getattr(next(iter(error.args), None), "reason", None) or error  # without the library's own story
            self.reason = beginning(f"{reason}", _SHOWN_CHARACTERS)
            raise
        self.reason = f"answered {response.status_code}"
        return response
