"""Changes that a file makes, and the fields that differ, as they are shown."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from .actions import Kept
from .masking import MASK, masked
from .provision_entries import Entry

_LONGEST_SHOWN = 100  # characters of a value

Differences = tuple[tuple[str, str, str], ...]
"""Changed fields with their values before and after, as texts; secrets are masked."""


@dataclass(frozen=True)
class Change:
    """Change that is made for an entry.

    Attributes:
        entry: of the file.
        is_new: True if it is made.
        fields: those that are changed.
    """

    entry: Entry
    is_new: bool
    fields: Differences = ()

    @property
    def is_none(self) -> bool:
        """True if nothing is changed."""
        return not self.is_new and not self.fields


def differences(
    before: Mapping[str, Any], after: Mapping[str, Any], secrets: Collection[str] = (), *, masked_names: tuple[str, ...]
) -> Differences:
    """Return the fields that differ.

    Args:
        before: JSON values by field.
        after: the same after the change.
        secrets: fields whose values are masked.
        masked_names: keys whose values are masked, at any depth.
    """

    def shown(name: str, values: Mapping[str, Any]) -> str:
        if name not in values:
            return "nothing"
        if name in secrets:
            return MASK
        key = name.partition(".")[2] or name
        value = masked({key: values[name]}, masked_names)[key]
        text = "".join(character if character.isprintable() else " " for character in as_json(value))
        return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 1]}…"

    def is_changed(name: str) -> bool:
        return (name in before) != (name in after) or as_json(before[name]) != as_json(after[name])

    return tuple((name, shown(name, before), shown(name, after)) for name in {**before, **after} if is_changed(name))


def action_fields(kept: Kept, body: str) -> dict[str, Any]:
    """Return the parts of an action's request and security by the names that files have for them.

    Args:
        kept: of the action.
        body: the name for the body: ``rawBody``, or ``body`` for a list of members.
    """
    request, security = kept
    fields = {
        "url": request["url"],
        "method": request["method"].upper(),
        **{f"headers.{name}": value for name, value in request["headers"].items()},
        **{f"headers.{name}.secret": True for name in request["secretHeaders"]},
        **{f"queryUrlParams.{name}": value for name, value in request["params"].items()},
        body: request["body"],
        "bodyExpression": request["expression"],
    }
    if security is not None:
        fields |= {"securityUrl": security["url"], "clientId": security["clientId"]}
        fields["clientSecret"] = security["clientSecret"]
    return fields


def as_json(value: Any) -> str:
    """Return a JSON value as a text that is the same for the same value."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True)
