"""Fields and validators that marshmallow lacks, each with its JSON Schema.

``json_schema`` describes the accepted values, so that a document made from a schema is as strict as the schema.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, ClassVar

from marshmallow import Schema, ValidationError, fields

from extension_kit.events.times import parse_time


class DateTime(fields.AwareDateTime):
    """A date-time of RFC 3339 to the letter: leap seconds and lower-case letters, too, which marshmallow refuses."""

    def json_schema(self, ref: Callable[[type[Schema]], dict[str, Any]]) -> dict[str, Any]:
        """Return the JSON Schema of accepted values."""
        return {"type": "string", "format": "date-time"}

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> datetime:
        return parse_time(value) or super()._deserialize(value, attr, data, **kwargs)


class AnyOf(fields.Field[Any]):
    """An object that matches one of several schemas, loaded by the first that it matches.

    Args:
        schemas: the alternatives.
        options: options of every marshmallow field.
    """

    def __init__(self, *schemas: type[Schema], **options: Any) -> None:
        super().__init__(**options)
        self.schemas = schemas

    def json_schema(self, ref: Callable[[type[Schema]], dict[str, Any]]) -> dict[str, Any]:
        """Return the JSON Schema of accepted values; ``ref`` makes a reference to the component of a schema."""
        return {"anyOf": [ref(schema) for schema in self.schemas]}

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> Any:
        refusals: dict[str, Any] = {}
        for schema in self.schemas:
            try:
                return schema().load(value)
            except ValidationError as refusal:
                refusals[schema.__name__] = refusal.messages
        raise ValidationError([refusals])


class UniqueItems:
    """A validator for lists in which no item may come twice."""

    json_schema: ClassVar = {"uniqueItems": True}

    def __call__(self, items: list[Any]) -> None:
        """Check a list.

        Raises:
            ValidationError: an item comes twice.
        """
        if any(item in items[:position] for position, item in enumerate(items)):
            raise ValidationError("No item may come twice.")
