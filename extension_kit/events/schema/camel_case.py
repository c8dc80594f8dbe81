"""Schemas whose JSON keys are in camelCase, while their fields have names of Python."""

from typing import Any

from marshmallow import Schema, fields


def camel_case(name: str) -> str:
    """Return a name of Python in camelCase: ``series_id`` becomes ``seriesId``."""
    first, *others = name.split("_")
    return first + "".join(map(str.capitalize, others))


class CamelCase(Schema):
    """Base of schemas with keys in camelCase."""

    def on_bind_field(self, field_name: str, field_obj: fields.Field[Any]) -> None:
        """Derive the JSON key from the name of the field."""
        field_obj.data_key = camel_case(field_name)
