"""What the targets of all senders have in common: they are checked by schemas, whose messages hold no values."""

import re
from collections.abc import Mapping
from typing import Any

from marshmallow import Schema, ValidationError, validate

from extension_kit.senders import Outcome

MAX_TIMEOUT = 300.0
"""Seconds that a target may ask for at most."""

TIMEOUT = validate.Range(min=0, min_inclusive=False, max=MAX_TIMEOUT)

is_host = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?|\[[0-9A-Fa-f:.]+\]").fullmatch
"""Whether this may stand for the host in a URL: a name in ASCII, or an address."""

_is_name = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch
_is_value = re.compile(r"[\t\x20-\x7e]*").fullmatch


class Target(Schema):
    """The base of the senders' schemas."""

    def problems(self, target: Mapping[str, Any]) -> dict[str, str]:
        """What is wrong with a target: a sentence or more for each key."""
        return {str(key): _sentences(found) for key, found in self.validate(target).items()}


def not_sent(error: ValidationError) -> Outcome:
    """The outcome where what is to be sent, or where to, is not valid."""
    return Outcome("refused", "not sent: " + _sentences(error.messages))


def _sentences(found: Any) -> str:
    if isinstance(found, Mapping):
        return " ".join(f"{key}: {_sentences(inner)}" for key, inner in found.items())
    return " ".join(map(str, found))


def check_headers(headers: Mapping[str, str], reserved: frozenset[str] = frozenset()) -> None:
    """Refuse headers that cannot be sent, among them those that would become several.

    Args:
        headers: what somebody wants to have sent.
        reserved: names, in lower case, that only the sender sets.

    Raises:
        ValidationError: says which name or value cannot be sent.
    """
    for name, value in headers.items():
        if not _is_name(name):
            raise ValidationError("The name of a header consists of letters, digits and hyphens.")
        if name.lower() in reserved:
            raise ValidationError(f"{name} is set by the sender.")
        if not _is_value(value):
            raise ValidationError(f"The value of {name} has to be one line of ASCII.")
