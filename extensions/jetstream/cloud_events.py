"""CloudEvents in messages of NATS, as the CloudEvents specification 1.0 and its protocol binding for NATS say."""

import base64
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

import orjson

from extension_kit.protocol import PublishedEvent, as_trace_context, parse_time

SOURCE = "jetstream"

_PREFIX = "ce-"
_STRUCTURED, _BATCH = "application/cloudevents", "application/cloudevents-batch"
_NEEDED = ("specversion", "id", "source", "type")
_ATTRIBUTE = re.compile("[a-z0-9]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")  # CloudEvents, "Type System": no text has them
_ESCAPED = re.compile(r"\\(.)")


class NotACloudEvent(ValueError):
    """A message is not a CloudEvent. The text says why, in ASCII and without the message's values."""


class CloudEvent(PublishedEvent):
    """A CloudEvent of a stream.

    ``data``, ``raw`` and ``body`` are the whole CloudEvent in the JSON format. ``source`` is ``jetstream``, and
    ``name`` that and the type. ``subject`` is the CloudEvent's subject, without one that of the message.
    """

    __slots__ = ()

    @property
    def attributes(self) -> dict[str, Any]:
        """The attributes of the CloudEvent, such as ``type``, ``source`` and extensions."""
        return {name: value for name, value in self.data.items() if name not in ("data", "data_base64")}

    @property
    def payload(self) -> Any:
        """The data of the CloudEvent: JSON data, a text, or bytes if they are neither; None without data."""
        encoded = self.data.get("data_base64")
        return self.data.get("data") if encoded is None else base64.b64decode(encoded)


def read_cloud_event(subject: str, headers: Mapping[str, str], body: bytes) -> CloudEvent:
    """Read the CloudEvent in a message, in the structured or the binary content mode.

    Args:
        subject: the subject of the message.
        headers: its headers.
        body: its payload.

    Raises:
        NotACloudEvent: it has none.
    """
    by_name = {name.lower(): value for name, value in headers.items()}
    content_type = by_name.get("content-type", "").strip().lower()
    if content_type.startswith(_BATCH):
        raise NotACloudEvent("it is a batch, which the protocol binding for NATS does not have")
    if content_type.startswith(_STRUCTURED) or f"{_PREFIX}specversion" not in by_name:
        found = _structured(body)
    else:
        found, body = _binary(by_name, body)
    _check(found)
    partition_key = found.get("partitionkey")
    key = partition_key if isinstance(partition_key, str) and partition_key else subject
    return CloudEvent.of(
        source=SOURCE,
        id=f"{found['source']} {found['id']}",
        name=f"{SOURCE}.{found['type']}",
        time=parse_time(found.get("time")),
        subject=found.get("subject") or subject,
        series=f"{SOURCE}:{key}",
        body=body,
        trace_context=as_trace_context(by_name.get("traceparent", ""), by_name.get("tracestate", "")),
    )


def _structured(body: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise NotACloudEvent("it is not JSON, and has no header ce-specversion") from None
    if not isinstance(found, dict):
        raise NotACloudEvent("it is not a JSON object")
    encoded = found.get("data_base64")
    if encoded is not None:
        try:
            base64.b64decode(encoded, validate=True)
        except (TypeError, ValueError):
            raise NotACloudEvent("data_base64 is not base64") from None
    return found


def _binary(headers: Mapping[str, str], body: bytes) -> tuple[dict[str, Any], bytes]:
    """Return the attributes, and the CloudEvent in the JSON format."""
    found: dict[str, Any] = {
        name.removeprefix(_PREFIX): _unescaped(value) for name, value in headers.items() if name.startswith(_PREFIX)
    }
    if not all(map(_ATTRIBUTE.fullmatch, found)):
        raise NotACloudEvent("a header with ce- is not the name of an attribute")
    content_type = found.get("datacontenttype") or headers.get("content-type", "")
    if content_type:
        found["datacontenttype"] = content_type
    data = {"data_base64": base64.b64encode(body).decode()} if body else {}
    kind = content_type.partition(";")[0].strip().lower()
    try:
        if body and (not kind or kind == "application/json" or kind.endswith("+json")):
            data = {"data": orjson.loads(body)}
        elif kind.startswith("text/"):
            data = {"data": body.decode()}
    except ValueError:  # the content is not what its type says: it goes on as bytes
        pass
    return found, orjson.dumps({**found, **data})


def _unescaped(value: str) -> str:
    """Return the value of a header without quotation marks and percent-encoding (protocol binding, 3.1.3.2)."""
    try:
        value = value.strip().encode("utf-8", "surrogateescape").decode()  # nats-py's way with bytes beyond ASCII
        if len(value) > 1 and value[0] == value[-1] == '"':
            value = _ESCAPED.sub(r"\1", value[1:-1])
        return unquote(value, errors="strict")
    except UnicodeError:
        raise NotACloudEvent("a header with ce- is not percent-encoded UTF-8") from None


def _check(found: Mapping[str, Any]) -> None:
    for name in _NEEDED:
        value = found.get(name)
        if not isinstance(value, str) or not value:
            raise NotACloudEvent(f"it has no {name}")
    if not found["specversion"].startswith("1."):
        raise NotACloudEvent("its specversion is not 1.0")
    subject = found.get("subject")
    if subject is not None and not isinstance(subject, str):
        raise NotACloudEvent("its subject is not a text")
    texts = [value for value in map(found.get, (*_NEEDED, "subject", "partitionkey")) if isinstance(value, str)]
    if any(map(_CONTROL.search, texts)):
        raise NotACloudEvent("an attribute has control characters")
    if " " in found["source"]:
        raise NotACloudEvent("its source is not a URI reference")
