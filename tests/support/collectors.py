"""An OpenTelemetry collector on this machine: takes spans by OTLP/HTTP, decodes them, and fails when it is told to."""

import gzip
import socket
import ssl
import zlib
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.support.receivers import Answer, Receiver, Request, reply

_DECODERS = {"": bytes, "gzip": gzip.decompress, "deflate": zlib.decompress}


class Exported(NamedTuple):
    """A span as it arrived, with what it came with."""

    span: Span
    resource: dict[str, Any]
    body: bytes
    request: Request

    @property
    def attributes(self) -> dict[str, Any]:
        return values(self.span.attributes)


class Collector:
    """Takes spans.

    ``troubles`` are the answers to the next requests: bytes instead of a success, or ``lost``: the span is taken, and
    the sender gets no answer. Without any, all is well.
    """

    def __init__(self, tls: ssl.SSLContext | None = None):
        self.exported: list[Exported] = []
        self.troubles: deque[Answer] = deque()
        self._receiver = Receiver(tls, self._answer)
        self.endpoint = self._receiver.url("", "127.0.0.1")

    @property
    def spans(self) -> dict[bytes, Span]:
        """The spans that differ, by their bytes."""
        return {exported.span.SerializeToString(deterministic=True): exported.span for exported in self.exported}

    @property
    def requests(self) -> list[Request]:
        return self._receiver.requests

    def close(self) -> None:
        self._receiver.server.close()

    def _answer(self, request: Request) -> Answer:
        trouble = self.troubles.popleft() if self.troubles else None
        if trouble is None or trouble is lost:
            self._take(request)
        return trouble or reply(
            body=ExportTraceServiceResponse().SerializeToString(), Content_Type="application/x-protobuf"
        )

    def _take(self, request: Request) -> None:
        body = _DECODERS[request.headers.get("content-encoding", "")](request.body)
        for resource_spans in ExportTraceServiceRequest.FromString(body).resource_spans:
            for scope_spans in resource_spans.scope_spans:
                for span in scope_spans.spans:
                    self.exported.append(Exported(span, values(resource_spans.resource.attributes), body, request))


def lost(connection: socket.socket) -> None:
    """Close the connection without an answer."""


def rejecting(reason: str) -> bytes:
    """A success that says that the span was dropped."""
    body = ExportTraceServiceResponse()
    body.partial_success.rejected_spans = 1
    body.partial_success.error_message = reason
    return reply(body=body.SerializeToString(), Content_Type="application/x-protobuf")


def values(attributes: Any) -> dict[str, Any]:
    return {attribute.key: _value(attribute.value) for attribute in attributes}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(each) for each in value.array_value.values]
    return getattr(value, kind)


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.close()
