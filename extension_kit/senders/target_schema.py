"""Target schemas: base class and checks shared by all senders. Messages never contain values, which may be secret."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import SplitResult, urlsplit

from marshmallow import Schema, ValidationError, validate

from extension_kit.senders import Outcome

MAX_TIMEOUT = 300.0
"""Maximum timeout of a target, in seconds."""

TIMEOUT = validate.Range(min=0, min_inclusive=False, max=MAX_TIMEOUT)

is_host = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?|\[[0-9A-Fa-f:.]+\]").fullmatch
"""Match the host of a URL: a name in ASCII, or an IPv6 address in brackets."""

is_header_name = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch
"""Match the name of a header."""

_is_value = re.compile(r"[\t\x20-\x7e]*").fullmatch


class Target(Schema):
    """Base of the senders' schemas."""

    def problems(self, target: Mapping[str, Any]) -> dict[str, str]:
        """Return the problems of a target by key, each as one or more sentences."""
        return {str(key): _sentences(found) for key, found in self.validate(target).items()}


def split_server_url(url: str, ports: Mapping[str, int], example: str) -> tuple[SplitResult, str, int]:
    """Return the parts of a server's URL, its host without brackets, and its port.

    Args:
        url: a text.
        ports: default ports by scheme; other schemes are invalid.
        example: a valid URL, for the message.

    Raises:
        ValidationError: the text is no URL of a server, or has a query or a fragment.
    """
    invalid = ValidationError(f"A URL such as {example} is needed.")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise invalid from None
    host = parts.netloc.rpartition("@")[2].removesuffix(f":{port}")
    if parts.scheme not in ports or port == 0 or not is_host(host) or parts.query or parts.fragment:
        raise invalid
    return parts, host.strip("[]"), port or ports[parts.scheme]


def not_sent(error: ValidationError) -> Outcome:
    """Return the outcome for an invalid target or message."""
    return Outcome("refused", "not sent: " + _sentences(error.messages))


def _sentences(found: Any) -> str:
    if isinstance(found, Mapping):
        return " ".join(f"{key}: {_sentences(inner)}" for key, inner in found.items())
    return " ".join(map(str, found))


def check_headers(headers: Mapping[str, str], reserved: frozenset[str] = frozenset()) -> None:
    """Check headers, also for line breaks, which would inject further headers.

    Args:
        headers: values by name.
        reserved: names, in lower case, that only the sender may set.

    Raises:
        ValidationError: a name or value is invalid, or a name is reserved. The message names it.
    """
    for name, value in headers.items():
        if not is_header_name(name):
            raise ValidationError("The name of a header consists of letters, digits and hyphens.")
        if name.lower() in reserved:
            raise ValidationError(f"{name} is set by the sender.")
        if not _is_value(value):
            raise ValidationError(f"The value of {name} has to be one line of ASCII.")
