"""OpenAPI components made from marshmallow schemas, never laxer than the schemas are.

apispec omits or approximates constructs that JSON Schema and marshmallow express differently. The document is enforced,
so a gap in it would accept bodies that the schema refuses. Therefore every construct is converted in full here, or
refused when the document is made, at the start of an extension. Stricter is allowed: a document never takes ``"1"`` for
an integer, ``"yes"`` for a boolean or a time without an offset for a date-time, as marshmallow does.

Constructs that build objects after validation (``@post_load``, ``post_load=``, defaults) are not checked.
"""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from apispec.ext.marshmallow.common import make_schema_key, resolve_schema_instance
from apispec.ext.marshmallow.field_converter import _VALID_PROPERTIES, DEFAULT_FIELD_MAPPING
from apispec.ext.marshmallow.openapi import OpenAPIConverter
from marshmallow import RAISE, Schema, fields

from extension_kit.events.schema.validator_keywords import Keywords, place_of, refuse, validator_keywords
from extension_kit.events.schema.validator_keywords import SchemaError as SchemaError

OPENAPI_VERSION = "3.1.0"

_PLAIN_FIELDS = {
    fields.String,
    fields.Email,
    fields.Url,
    fields.UUID,
    fields.IP,
    fields.IPv4,
    fields.IPv6,
    fields.Enum,
    fields.DateTime,
    fields.AwareDateTime,
    fields.Date,
    fields.Time,
    fields.TimeDelta,
    fields.Boolean,
    fields.Raw,
    fields.Integer,
    fields.Float,
    fields.Decimal,
    fields.List,
    fields.Tuple,
    fields.Dict,
    fields.Nested,
}
_JUDGING = {"deserialize", "_deserialize", "_validate", "_validate_all", "_validate_missing", "_validated", "_load"}
"""Methods that decide about accepted values: a class that overrides one of them is not a plain field."""

_INSTEAD = {
    fields.NaiveDateTime: "write fields.AwareDateTime, since a date-time of JSON Schema has an offset",
    fields.Pluck: "write the plucked field itself",
    fields.Constant: "write a field with validate.Equal",
}
_ANNOTATIONS = {"title", "description", "default", "example", "examples", "deprecated", "externalDocs"}

_DATE = "(?!0000)[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
_CLOCK = r"([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]+)?"
_OFFSET = "(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"


def json_schema_components(*schemas: type[Schema]) -> dict[str, Keywords]:
    """Make ``components.schemas`` of an OpenAPI 3.1 document from marshmallow schemas and those nested in them.

    A component has the name of its class, without the ending ``Schema``. A custom field class describes its accepted
    values in a method ``json_schema(ref)``, where ``ref(SomeSchema)`` makes a reference; a custom validator in an
    attribute ``json_schema``. Both are dicts of JSON Schema keywords.

    Raises:
        SchemaError: a schema uses a construct that a document cannot express; the message names the alternative.
    """
    plugin = _Plugin()
    spec = APISpec("", "", OPENAPI_VERSION, plugins=[plugin])
    for schema in schemas:
        plugin.converter.resolve_nested_schema(schema)
    return spec.components.schemas


class _Converter(OpenAPIConverter):
    """apispec's converter, completed."""

    field_mapping = {  # noqa: RUF012 - it is never changed
        **DEFAULT_FIELD_MAPPING,
        fields.Url: ("string", "uri"),
        fields.IP: ("string", None),
        fields.Tuple: ("array", None),
    }

    def init_attribute_functions(self) -> None:
        super().init_attribute_functions()  # type: ignore[no-untyped-call]
        replaced = {"field2choices", "field2range", "field2length", "field2pattern"}
        self.attribute_functions = [
            function for function in self.attribute_functions if function.__name__ not in replaced
        ]

    def schema2jsonschema(self, schema: Schema) -> Keywords:
        """Convert a schema."""
        _check_schema(schema)
        keywords: Keywords = super().schema2jsonschema(schema)  # type: ignore[no-untyped-call]
        if schema.unknown == RAISE:  # apispec forgets it where Meta has a description
            keywords["additionalProperties"] = False
        return keywords

    def resolve_nested_schema(self, schema: type[Schema] | Schema) -> Keywords:
        """Return a reference to the component of a schema, which is made if it does not exist."""
        instance = resolve_schema_instance(schema)
        name = self.schema_name_resolver(instance)
        if make_schema_key(instance) not in self.refs and name in self.spec.components.schemas:
            refuse(
                type(instance).__name__,
                "a second schema of its name, or it with only= or exclude= in one place and without in another",
                "write a class with a name of its own",
            )
        return super().resolve_nested_schema(instance)  # type: ignore[no-untyped-call,no-any-return]

    def field2property(self, field: fields.Field[Any]) -> Keywords:
        """Convert a field with its validators."""
        _check_field(field)
        json_schema = getattr(field, "json_schema", None)
        if json_schema is None:
            keywords = super().field2property(field)
            additions = [*self._left_out(field), *validator_keywords(field, field.validators)]
        else:
            keywords = {**json_schema(self.resolve_nested_schema), **self.metadata2properties(field)}
            if field.allow_none:
                keywords = {"anyOf": [keywords, {"type": "null"}]}
            additions = [*validator_keywords(field, field.validators)]
        for addition in additions:
            if addition.keys() & keywords.keys():
                keywords.setdefault("allOf", []).append(addition)
            else:
                keywords.update(addition)
        return keywords

    def _left_out(self, field: fields.Field[Any]) -> Iterator[Keywords]:
        """Yield the keywords of a plain field that apispec omits."""
        match field:
            case fields.IPv4() | fields.IPv6():
                return  # apispec says all
            case fields.IP():
                yield {"anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]}
            case fields.DateTime():
                yield {"pattern": f"^{_DATE}T{_CLOCK}{_OFFSET}$"}  # unlike JSON Schema, no second 60 and no year 0
            case fields.Date():
                yield {"pattern": f"^{_DATE}$"}
            case fields.Time():
                yield {"pattern": f"^{_CLOCK}$"}
            case fields.TimeDelta():
                limit = timedelta(days=timedelta.max.days) / timedelta(**{field.precision: 1})
                yield {"minimum": -limit, "maximum": limit}
            case fields.Tuple():
                items = [self.field2property(inner) for inner in field.tuple_fields]
                yield {"prefixItems": items, "minItems": len(items), "maxItems": len(items)}
            case fields.Dict(key_field=fields.Field() as key):
                names = self.field2property(key)
                if names.get("type") != "string":
                    refuse(place_of(field), "keys that are not strings", "write keys=fields.String()")
                yield {"propertyNames": names}
            case fields.Enum(by_value=True, allow_none=False) if None in {member.value for member in field.enum}:
                yield {"not": {"type": "null"}}
            case fields.Raw(allow_none=False) if field.parent:  # without a parent it stands for the values of an Enum
                yield {"type": ["string", "number", "boolean", "object", "array"]}


class _Plugin(MarshmallowPlugin):
    Converter = _Converter
    converter: _Converter


def _check_schema(schema: Schema) -> None:
    name = type(schema).__name__
    for hook in ("pre_load", "validates", "validates_schema"):
        for method, *_ in schema._hooks.get(hook, ()):
            refuse(f"{name}.{method}", f"@{hook}", "write a validator of a field")
    if schema.partial:
        refuse(name, "partial", "write a class whose fields are not required")
    if schema.opts.many:
        refuse(name, "Meta.many", "write fields.List(fields.Nested(...)) where there are many")


def _check_field(field: fields.Field[Any]) -> None:
    if not hasattr(field, "json_schema") and not _is_plain(type(field)):
        instead = "write a plain field, or give the class a method json_schema"
        instead = next((text for kind, text in _INSTEAD.items() if isinstance(field, kind)), instead)
        refuse(place_of(field), f"fields.{type(field).__name__}", instead)
    if field.pre_load:
        refuse(place_of(field), "pre_load", "write the field as it comes in")
    if field.dump_only:
        refuse(place_of(field), "dump_only", "write one schema for what comes in and one for what goes out")
    if overriding := sorted(field.metadata.keys() & _VALID_PROPERTIES - _ANNOTATIONS):
        refuse(
            place_of(field), f"{', '.join(overriding)} of metadata beside what the field accepts", "write a validator"
        )
    match field:
        case fields.Integer(strict=True):
            refuse(place_of(field), "strict", "leave it out: 42 and 42.0 are one number in JSON, and '42' is none")
        case fields.Boolean() if True not in field.truthy or False not in field.falsy:
            refuse(place_of(field), "truthy and falsy without True and False", "leave them out")
        case fields.DateTime() | fields.Date() | fields.Time() if field.format not in (None, "iso", "iso8601"):
            refuse(place_of(field), f"the format {field.format}", "leave it out, which means ISO 8601")
        case fields.Enum() if not isinstance(field.by_value, bool):
            refuse(place_of(field), "by_value with a field", "write by_value=True")
        case fields.Nested() if field.unknown not in (None, field.schema.unknown):
            refuse(place_of(field), "unknown of fields.Nested", "write it into Meta of the nested schema")


def _is_plain(kind: type) -> bool:
    for base in kind.__mro__:
        if base in _PLAIN_FIELDS:
            return True
        if vars(base).keys() & _JUDGING:
            return False
    return False
