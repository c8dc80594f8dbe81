"""Fields of requests' bodies, which accept the forms of eventhos's web page: null, numbers as texts."""

import re
from typing import Any

import orjson
from marshmallow import EXCLUDE, Schema, ValidationError, fields, validate

from .tables import LARGEST_ID

CUSTOM, OAUTH2 = "custom", "oauth2_client"
"""Types of an action's security."""

_SECURITY_TYPES = {"0": CUSTOM, CUSTOM: CUSTOM, "1": OAUTH2, OAUTH2: OAUTH2}
_LONGEST_CLIENT_ID = 100
_DECIMAL = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")


NO_NUL = validate.Regexp(r"[^\x00]*\Z", error="It must not hold the character U+0000.")
"""Validator of texts that every database can keep."""


class Body(Schema):
    """An object; unknown keys are ignored, because the web page of eventhos sends more."""

    class Meta:
        unknown = EXCLUDE


def text(longest: int, shortest: int = 0, *, required: bool = False) -> fields.String:
    """Return the field of a text that every database can store.

    Args:
        longest: maximum number of characters.
        shortest: minimum number of characters.
        required: True if the key must not be missing.
    """
    return fields.String(required=required, validate=[validate.Length(shortest, longest), NO_NUL])


def is_id(number: int) -> None:
    """Check that a number can be the id of a row.

    Raises:
        ValidationError: it cannot.
    """
    validate.Range(1, LARGEST_ID)(number)


def in_words(problems: Any, place: str = "") -> str:
    """Return marshmallow's messages in one line, each with its key."""
    if isinstance(problems, dict):
        keyed = ((f"{place}.{key}".lstrip("."), value) for key, value in problems.items())
        return "; ".join(in_words(value, key) for key, value in keyed)
    return f"{place}: {' '.join(map(str, problems))}"


class OptionalText(fields.String):
    """A text; null is an empty one."""

    def deserialize(self, value: Any, *arguments: Any, **keywords: Any) -> Any:
        return super().deserialize("" if value is None else value, *arguments, **keywords)


class BoundedList(fields.List[Any]):
    """A list of at most so many items; a longer one is refused before its items are looked at.

    Args:
        item: field or schema class of the items.
        most: maximum number of items.
        keywords: those of the field.
    """

    def __init__(self, item: fields.Field[Any], most: int, **keywords: Any) -> None:
        super().__init__(item, **keywords)
        self._has_length = validate.Length(max=most)
        self.validators.append(self._has_length)  # the document shows it

    def _deserialize(self, value: Any, attr: str | None, data: Any, **keywords: Any) -> list[Any]:
        if isinstance(value, list):
            self._has_length(value)
        found: list[Any] = super()._deserialize(value, attr, data, **keywords)
        return found


class WholeNumber(fields.Integer):
    """A whole number, or a text of digits."""

    def __init__(self, **keywords: Any) -> None:
        super().__init__(strict=True, **keywords)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **keywords: Any) -> int:
        digits = isinstance(value, str) and len(value) < len(str(LARGEST_ID)) and value.isascii() and value.isdigit()
        found: int = super()._deserialize(int(value) if digits else value, attr, data, **keywords)
        return found


class Seconds(fields.Float):
    """A number of seconds, or a text of digits, which may have a decimal point."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **keywords: Any) -> float:
        if isinstance(value, str) and not _DECIMAL.fullmatch(value):
            raise self.make_error("invalid", input=value)
        found: float = super()._deserialize(value, attr, data, **keywords)
        return found


class ClientOfSystem(fields.Field[Any]):
    """A client: its number, or its ``client_id``. An empty value is none."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **keywords: Any) -> int | str | None:
        if value in ("", 0) and value is not False:
            return None
        if isinstance(value, str) and not value.isdigit():
            if "\0" in value or len(value) > _LONGEST_CLIENT_ID:
                raise ValidationError("It is no id of a client.")
            return value
        number: int = WholeNumber(validate=is_id).deserialize(value)
        return number


class SecurityType(fields.Field[str]):
    """The type of an action's security, or its number."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **keywords: Any) -> str:
        if isinstance(value, bool) or not isinstance(value, int | str) or str(value) not in _SECURITY_TYPES:
            raise ValidationError(f'It has to be 0 or "{CUSTOM}", or 1 or "{OAUTH2}".')
        return _SECURITY_TYPES[str(value)]


class Scalar(fields.String):
    """A text; numbers and booleans become texts, and null an empty one."""

    def deserialize(self, value: Any, *arguments: Any, **keywords: Any) -> Any:
        if isinstance(value, bool | int | float):
            value = orjson.dumps(value).decode()
        return super().deserialize("" if value is None else value, *arguments, **keywords)
