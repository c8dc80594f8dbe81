"""Entries of a file of systems, events, actions and contracts, checked by the schemas of the management API."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from marshmallow import RAISE, Schema, ValidationError, fields, validate

from .action_requests import make_request
from .answers import EventhosError
from .body_fields import NO_NUL, in_words
from .provision_file import FileProblem
from .schemas import NewAction, NewContract, NewEvent, NewSystem

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_LONGEST = 100  # characters of a name in the database
_TRUE = fields.Boolean.truthy


def _identifier() -> fields.String:
    """Return the field of an identifier that may have the suffix of the management API."""
    error = "It has to be 1 to 75 letters, digits or characters of _.-:"
    return fields.String(required=True, validate=validate.Regexp(r"[A-Za-z0-9_.:-]{1,75}\Z", error=error))


def _reference() -> fields.String:
    return fields.String(required=True, validate=[validate.Length(1, _LONGEST), NO_NUL])


_SCHEMAS: Mapping[str, type[Schema]] = {
    "systems": NewSystem.from_dict(
        {
            "identifier": _identifier(),
            "client": fields.String(allow_none=True, validate=[validate.Length(max=_LONGEST), NO_NUL]),
        }
    ),
    "events": NewEvent.from_dict({"identifier": _identifier(), "system": _reference()}),
    "actions": NewAction.from_dict({"identifier": _identifier(), "system": _reference()}),
    "contracts": NewContract.from_dict({"identifier": _identifier(), "event": _reference(), "action": _reference()}),
}


@dataclass(frozen=True)
class Entry:
    """An entry of a file.

    Attributes:
        kind: ``systems``, ``events``, ``actions`` or ``contracts``.
        sent: loaded by the schema of the kind; references are identifiers.
        request: of an action, made by ``make_request``.
        keys: keys of the file by name of the loaded ones.
    """

    kind: str
    sent: Mapping[str, Any] = field(repr=False)
    request: Mapping[str, Any] = field(repr=False)
    keys: Mapping[str, str] = field(repr=False)

    @property
    def identifier(self) -> str:
        """Its identifier."""
        return str(self.sent["identifier"])

    @property
    def place(self) -> str:
        """Its place in the file, for messages."""
        return f"{self.kind}, {self.identifier}"


def check_entries(name: str, content: Any) -> list[Entry]:
    """Return the entries of a file, in the order in which they can be made.

    Args:
        name: of the file, for messages.
        content: its value.

    Raises:
        FileProblem: entries cannot be used; the messages name each with its field.
    """
    expected = f"expected the keys {', '.join(_SCHEMAS)}, each with a list"
    if not isinstance(content, dict) or not content:
        raise FileProblem(f"{name}: {expected}")
    problems = [f"{name}: there is no key {key:.100}: {expected}" for key in content if key not in _SCHEMAS]
    entries: dict[tuple[str, str], Entry] = {}
    for kind, schema in _SCHEMAS.items():
        if not isinstance(found := content.get(kind) or [], list):
            problems.append(f"{name}: {kind}: expected a list")
            continue
        strict = _strict(schema())
        for number, each in enumerate(found, 1):
            called = each.get("identifier") if isinstance(each, dict) else None
            place = f"{name}: {kind}, {called:.100}" if isinstance(called, str) else f"{name}: {kind}, entry {number}"
            try:
                entry = _load(kind, strict, each)
            except (ValidationError, EventhosError) as error:
                text = in_words(error.messages) if isinstance(error, ValidationError) else error.message
                problems.append(f"{place}: {text.removeprefix('_schema: ')}")
            else:
                if (key := (kind, entry.identifier)) in entries:
                    problems.append(f"{place}: identifier: two entries have it")
                entries[key] = entry
    if problems:
        raise FileProblem(*problems)
    return list(entries.values())


def _strict(schema: Schema) -> Schema:
    """Return a schema that refuses unknown keys, also in lists of objects."""
    schema.unknown = RAISE
    for each in schema.fields.values():
        if isinstance(each, fields.List) and isinstance(each.inner, fields.Nested):
            each.inner.unknown = RAISE
    return schema


def _load(kind: str, schema: Schema, entry: Any) -> Entry:
    """Return a checked entry.

    Raises:
        ValidationError: it does not match the schema, or a variable of the environment is missing.
        EventhosError: the request of an action cannot be used.
    """
    with_secrets = _with_secrets(entry) if kind == "actions" and isinstance(entry, dict) else entry
    sent: dict[str, Any] = schema.load(with_secrets)
    keys = {each.attribute or name: each.data_key or name for name, each in schema.fields.items()}
    return Entry(kind, sent, make_request(sent) if kind == "actions" else {}, keys)


def _with_secrets(action: Mapping[str, Any]) -> dict[str, Any]:
    """Return an action whose secrets have the values of the variables that they name.

    Raises:
        ValidationError: a variable is missing.
    """
    made = dict(action)
    if isinstance(secret := made.get("clientSecret"), str):
        made["clientSecret"] = _resolved(secret, "clientSecret")
    if isinstance(headers := made.get("headers"), list):
        made["headers"] = [_header(each) if isinstance(each, dict) else each for each in headers]
    return made


def _header(header: Mapping[str, Any]) -> Mapping[str, Any]:
    is_secret = isinstance(flag := header.get("secret"), bool | int | str) and flag in _TRUE
    if not is_secret or not isinstance(value := header.get("value"), str):
        return header
    return {**header, "value": _resolved(value, f"headers.{header.get('key')}", in_template=True)}


def _resolved(text: str, place: str, *, in_template: bool = False) -> str:
    """Return a text with the values of the variables of the environment that it names."""

    def value(found: re.Match[str]) -> str:
        if not (value := os.environ.get(found[1], "")):
            raise ValidationError({place: [f"The environment variable {found[1]} is not set, or empty."]})
        if in_template and "${" in value:
            raise ValidationError({place: [f"The environment variable {found[1]} holds ${{: that is a placeholder."]})
        return value

    return _VARIABLE.sub(value, text)
