"""Exports spans, each within the attempt of its delivery: a delivery that ended is a span that has arrived.

OpenTelemetry's own exporter does it, so that its standard variables mean the same here as everywhere, certificates and
compression included. The session that it is given makes one request for a span and keeps the reason of a failure:
the exporter would repeat the request in memory, and then say no more than that it failed. The kit repeats it by its
retry schedule, across restarts.
"""

import logging
import threading
from typing import Any
from urllib.parse import urlsplit

import requests
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from urllib3.exceptions import HTTPError

from extension_kit import GiveUp
from extension_kit.http import CallFailed, failure
from extension_kit.protocol import Answer

from .settings import TracesSettings

_MOST_ANSWER_BYTES = 64 * 1024
_SHOWN_CHARACTERS = 200

# The kit logs failed attempts with their reasons; and the parser of headers repeats wrong ones, which are secrets.
for _name in ("opentelemetry.exporter.otlp.proto.http.trace_exporter", "opentelemetry.util.re"):
    logging.getLogger(_name).disabled = True


class Exporter(threading.local):
    """Exporter of spans, with a kept connection for each thread that uses it: a session belongs to one thread.

    Args:
        settings: the address and the headers; the exporter reads the other variables itself.
    """

    def __init__(self, settings: TracesSettings) -> None:
        headers = dict(settings.traces_headers or settings.headers)
        self._session = _Session(set(headers.values()))
        self._exporter = OTLPSpanExporter(settings.url, headers=headers, session=self._session)

    def export(self, span: ReadableSpan) -> None:
        """Send a span and return when the collector has taken it.

        Raises:
            NotReady: the collector refuses the credentials.
            RetryLater: the collector asks to be called later.
            CallFailed: there is no answer, or the collector has a problem.
            GiveUp: the collector refuses the span, which it would do again.
        """
        self._session.failure = None
        result = self._exporter.export([span])
        if self._session.failure is not None:
            raise self._session.failure
        if result is not SpanExportResult.SUCCESS:
            raise GiveUp("the span cannot be encoded")


class _Session(requests.Session):
    """Makes the request of the exporter. The exporter repeats none that ends with an exception of another library.

    Args:
        secrets: texts that no error may show.
    """

    def __init__(self, secrets: set[str]) -> None:
        super().__init__()
        self.failure: Exception | None = None
        self._secrets = secrets

    def request(self, method: str, url: str, **options: Any) -> requests.Response:  # type: ignore[override]
        host = urlsplit(url).hostname or ""
        options |= {"stream": True, "allow_redirects": False}
        if isinstance(self.verify, str):
            options["verify"] = self.verify  # else REQUESTS_CA_BUNDLE goes before OpenTelemetry's variable
        try:
            with super().request(method, url, **options) as response:
                body = response.raw.read(_MOST_ANSWER_BYTES, decode_content=True)
        except (OSError, HTTPError) as error:
            reason = getattr(next(iter(error.args), None), "reason", None) or error  # without the library's own story
            self.failure = CallFailed(f"{host}: {str(reason)[:_SHOWN_CHARACTERS]}")
        else:
            answer = Answer(response.status_code, list(response.headers.items()), body, complete=True)
            is_success = 200 <= answer.status < 300
            self.failure = _rejection(host, body) if is_success else failure(host, answer, self._secrets)
        if self.failure is not None:
            raise self.failure
        return response


def _rejection(host: str, body: bytes) -> GiveUp | None:
    """Return the reason for which a collector that accepts the request drops the span."""
    try:
        rejected = ExportTraceServiceResponse.FromString(body).partial_success
    except DecodeError:  # some collectors answer in JSON, or in no form at all
        return None
    return GiveUp(f"{host} rejects the span: {rejected.error_message}") if rejected.rejected_spans else None
