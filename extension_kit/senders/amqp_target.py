"""What the target of a message to a broker consists of."""

from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from marshmallow import ValidationError, fields, validates_schema

from extension_kit.senders.target_schema import TIMEOUT, Target, is_host

_PORTS = {"amqp": 5672, "amqps": 5671}
_SHORT = 255  # bytes of AMQP's short strings
_NO_URL = "A URL such as amqps://user:password@example.com/virtual-host is needed."


class Broker(NamedTuple):
    """Where a broker is, and who asks."""

    scheme: str
    host: str
    port: int
    username: str
    password: str
    virtual_host: str


def broker_of(url: str) -> Broker:
    """Read a URL.

    Raises:
        ValidationError: it is not one of a broker.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValidationError(_NO_URL) from None
    host = parts.netloc.rpartition("@")[2].removesuffix(f":{port}")
    if parts.scheme not in _PORTS or port == 0 or not is_host(host) or parts.query or parts.fragment:
        raise ValidationError(_NO_URL)
    return Broker(
        parts.scheme,
        host.strip("[]"),
        port or _PORTS[parts.scheme],
        unquote(parts.username or "guest"),
        unquote(parts.password or "guest"),
        unquote(parts.path[1:]) or "/",
    )


def _check_short(text: str) -> None:
    if len(text.encode()) > _SHORT:
        raise ValidationError(f"Longer than {_SHORT} bytes.")


class AmqpTarget(Target):
    """The keys of a target."""

    url = fields.String(required=True, validate=broker_of)
    exchange = fields.String(load_default="", validate=_check_short)
    routing_key = fields.String(load_default="", validate=_check_short)
    mandatory = fields.Boolean(load_default=False)
    timeout = fields.Float(load_default=None, validate=TIMEOUT)

    @validates_schema
    def _check_destination(self, target: Mapping[str, Any], **_: Any) -> None:
        if not target["exchange"] and not target["routing_key"]:
            raise ValidationError("The name of a queue is needed where no exchange is named.", "routing_key")
