"""NATS targets: the schema of their keys, and the parser of server URLs."""

import re
from typing import NamedTuple
from urllib.parse import unquote

from marshmallow import ValidationError, fields, validate

from extension_kit.senders.target_schema import TIMEOUT, Target, split_server_url

_PORTS = {"nats": 4222, "tls": 4222}
_EXAMPLE = "tls://user:password@example.com:4222"
_MOST_CHARACTERS = 255
_SUBJECT = re.compile(r"[^\s.*>\x00-\x1f\x7f]+(\.[^\s.*>\x00-\x1f\x7f]+)*")


class NatsServer(NamedTuple):
    """A server's address, and the login in its URL: a user name and a password, or a token."""

    scheme: str
    host: str
    port: int
    username: str
    password: str
    token: str


def parse_server_url(url: str) -> NatsServer:
    """Parse the URL of a server.

    Raises:
        ValidationError: the text is not such a URL.
    """
    parts, host, port = split_server_url(url, _PORTS, _EXAMPLE)
    if parts.path not in ("", "/"):
        raise ValidationError(f"A URL such as {_EXAMPLE} is needed.")
    name, password = unquote(parts.username or ""), unquote(parts.password or "")
    login = (name, password, "") if password else ("", "", name)
    return NatsServer(parts.scheme, host, port, *login)


def _check_subject(text: str) -> None:
    if len(text) > _MOST_CHARACTERS or not _SUBJECT.fullmatch(text):
        raise ValidationError("A subject such as events.runs is needed, without wildcards.")


class NatsTarget(Target):
    """Schema of a NATS target."""

    url = fields.String(required=True, validate=parse_server_url)
    subject = fields.String(required=True, validate=_check_subject)
    stream = fields.String(load_default="", validate=validate.Length(max=_MOST_CHARACTERS))
    credentials = fields.String(load_default="", validate=validate.Length(max=100_000))
    timeout = fields.Float(load_default=None, validate=TIMEOUT)
