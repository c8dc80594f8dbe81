"""Webhook targets: the schema of their keys."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from marshmallow import ValidationError, fields, validate, validates_schema
from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

from extension_kit.senders.signatures import check_secrets
from extension_kit.senders.target_schema import TIMEOUT, Target, check_headers, is_host

PORTS = {"http": 80, "https": 443}
METHODS = ("POST", "PUT", "PATCH", "DELETE", "GET")
GIVE_UP_ON = (410,)
"""Default statuses after which a delivery is not retried. Any other may come from a receiver under repair."""

_INVALID_URL = "A URL such as https://example.com/path is needed, its host in ASCII."
RESERVED_HEADERS = frozenset(
    {"host", "connection", "content-length", "transfer-encoding", "te", "trailer", "upgrade", "expect"}
    | {"webhook-id", "webhook-timestamp", "webhook-signature"}
)

_check_headers = partial(check_headers, reserved=RESERVED_HEADERS)
_status = fields.Integer(strict=True, validate=validate.Range(100, 599))


def _check_url(text: str) -> None:
    try:
        url = parse_url(text)
    except LocationParseError:
        raise ValidationError(_INVALID_URL) from None
    if url.scheme not in PORTS or url.port == 0 or not is_host(url.host or ""):
        raise ValidationError(_INVALID_URL)
    if url.auth:
        raise ValidationError("User name and password have keys of their own.")


class HttpTarget(Target):
    """Schema of a webhook target."""

    url = fields.String(required=True, validate=[validate.Length(max=2000), _check_url])
    method = fields.String(load_default="POST", validate=validate.OneOf(METHODS))
    headers = fields.Dict(fields.String(), fields.String(), load_default=dict, validate=_check_headers)
    secret = fields.String(load_default="", validate=check_secrets)
    username = fields.String(load_default="")
    password = fields.String(load_default="")
    ok = fields.List(_status, load_default=range(200, 300))
    give_up_on = fields.List(_status, load_default=GIVE_UP_ON)
    timeout = fields.Float(load_default=None, validate=TIMEOUT)
    ca_file = fields.String(load_default="", validate=validate.Length(max=1000))

    @validates_schema
    def _check_credentials(self, target: Mapping[str, Any], **_: Any) -> None:
        if ":" in target["username"]:  # RFC 7617: the first colon ends the name
            raise ValidationError("A name without a colon is needed.", "username")
        if target["password"] and not target["username"]:
            raise ValidationError("It has to be there with a password.", "username")
