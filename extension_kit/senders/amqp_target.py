"""AMQP targets: the schema of their keys, and the parser of broker URLs."""

from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from marshmallow import ValidationError, fields, validates_schema

from extension_kit.senders.target_schema import TIMEOUT, Target, is_host

_PORTS = {"amqp": 5672, "amqps": 5671}
_MAX_SHORT_BYTES = 255  # of AMQP's short strings
_INVALID_URL = "A URL such as amqps://user:password@example.com/virtual-host is needed."


class Broker(NamedTuple):
    """A broker's address, virtual host and credentials."""

    scheme: str
    host: str
    port: int
    username: str
    password: str
    virtual_host: str


def parse_broker_url(url: str) -> Broker:
    """Parse the URL of a broker.

    Raises:
        ValidationError: the text is not such a URL.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValidationError(_INVALID_URL) from None
    host = parts.netloc.rpartition("@")[2].removesuffix(f":{port}")
    if parts.scheme not in _PORTS or port == 0 or not is_host(host) or parts.query or parts.fragment:
        raise ValidationError(_INVALID_URL)
    return Broker(
        parts.scheme,
        host.strip("[]"),
        port or _PORTS[parts.scheme],
        unquote(parts.username or "guest"),
        unquote(parts.password or "guest"),
        unquote(parts.path[1:]) or "/",
    )


def _check_length(text: str) -> None:
    if len(text.encode()) > _MAX_SHORT_BYTES:
        raise ValidationError(f"Longer than {_MAX_SHORT_BYTES} bytes.")


class AmqpTarget(Target):
    """Schema of an AMQP target."""

    url = fields.String(required=True, validate=parse_broker_url)
    exchange = fields.String(load_default="", validate=_check_length)
    routing_key = fields.String(load_default="", validate=_check_length)
    mandatory = fields.Boolean(load_default=False)
    timeout = fields.Float(load_default=None, validate=TIMEOUT)

    @validates_schema
    def _check_destination(self, target: Mapping[str, Any], **_: Any) -> None:
        if not target["exchange"] and not target["routing_key"]:
            raise ValidationError("The name of a queue is needed where no exchange is named.", "routing_key")
