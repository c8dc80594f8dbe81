"""AMQP targets: the schema of their keys, and the parser of broker URLs."""

from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote

from marshmallow import ValidationError, fields, validates_schema

from extension_kit.senders.target_schema import TIMEOUT, Target, split_server_url

_PORTS = {"amqp": 5672, "amqps": 5671}
_MAX_SHORT_BYTES = 255  # of AMQP's short strings


class UnroutableError(Exception):
    """The broker returned a message, because no queue takes it."""


class AmqpServer(NamedTuple):
    """A broker's address, virtual host and credentials."""

    scheme: str
    host: str
    port: int
    username: str
    password: str
    virtual_host: str


def parse_server_url(url: str) -> AmqpServer:
    """Parse the URL of a broker.

    Raises:
        ValidationError: the text is not such a URL.
    """
    parts, host, port = split_server_url(url, _PORTS, "amqps://user:password@example.com/virtual-host")
    return AmqpServer(
        parts.scheme,
        host,
        port,
        unquote(parts.username or "guest"),
        unquote(parts.password or "guest"),
        unquote(parts.path[1:]) or "/",
    )


def _check_length(text: str) -> None:
    if len(text.encode()) > _MAX_SHORT_BYTES:
        raise ValidationError(f"Longer than {_MAX_SHORT_BYTES} bytes.")


class AmqpTarget(Target):
    """Schema of an AMQP target."""

    url = fields.String(required=True, validate=parse_server_url)
    exchange = fields.String(load_default="", validate=_check_length)
    routing_key = fields.String(load_default="", validate=_check_length)
    mandatory = fields.Boolean(load_default=False)
    timeout = fields.Float(load_default=None, validate=TIMEOUT)

    @validates_schema
    def _check_destination(self, target: Mapping[str, Any], **_: Any) -> None:
        if not target["exchange"] and not target["routing_key"]:
            raise ValidationError("The name of a queue is needed where no exchange is named.", "routing_key")
