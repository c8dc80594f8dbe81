"""Conversion of marshmallow's validators to JSON Schema keywords."""

import re
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any, NoReturn

from marshmallow import fields, validate

from extension_kit.errors import ConfigurationError

Keywords = dict[str, Any]

_ESCAPE = re.compile(r"\\(x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|.)", re.DOTALL)
_NOT_PORTABLE = re.compile(r"\(\?(?!:)|[*+?}]\+|\{,")

_LABEL = "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_DOMAIN = rf"({_LABEL}\.)+[A-Za-z0-9-]{{2,}}"
_MAILBOX = "[-!#$%&'*+/=?^`{}|~0-9A-Za-z_]+"
_LOGIN = "([A-Za-z0-9._~!$&'()*+,;=:-]|%[0-9A-Fa-f]{2})*@"

_INSTEAD: dict[object, str] = {
    validate.ContainsOnly: "write validate.OneOf on the field inside of the list",
    validate.ContainsNoneOf: "write validate.NoneOf on the field inside of the list",
}


class SchemaError(ConfigurationError):
    """A marshmallow schema uses a construct that an OpenAPI document cannot express."""


def refuse(place: str, construct: str, instead: str) -> NoReturn:
    """Refuse a schema.

    Args:
        place: the schema and field, as in the code.
        construct: the construct that is not supported.
        instead: the alternative, beginning with a verb.

    Raises:
        SchemaError: always.
    """
    raise SchemaError(f"{place}: an OpenAPI document cannot express {construct}; {instead}")


def place_of(field: fields.Field[Any]) -> str:
    """Return the name of a field with its schema, as written in the code."""
    owner: Any = field
    while isinstance(owner, fields.Field):
        owner = owner.parent
    return f"{type(owner).__name__}.{field.name}"


def validator_keywords(field: fields.Field[Any], validators: Iterable[Any]) -> Iterator[Keywords]:
    """Yield the JSON Schema keywords of each validator of a field.

    Raises:
        SchemaError: JSON Schema cannot express a validator.
    """
    for validator in validators:
        if isinstance(own := getattr(validator, "json_schema", None), Mapping):
            yield dict(own)
            continue
        match type(validator), field:  # by type, since a subclass may judge in another way
            case validate.And, _:
                yield from validator_keywords(field, validator.validators)
            case validate.Range, fields.Integer() | fields.Float() | fields.Decimal():
                yield _range(validator)
            case validate.Length, fields.String():
                yield _length(validator, "Length")
            case validate.Length, fields.List() | fields.Nested(many=True):
                yield _length(validator, "Items")
            case validate.Length, fields.Dict():
                yield _length(validator, "Properties")
            case validate.OneOf, _:
                yield {"enum": _literals(field, validator.choices) + [None] * bool(field.allow_none)}
            case validate.Equal, _:
                yield {"enum": _literals(field, [validator.comparable]) + [None] * bool(field.allow_none)}
            case validate.NoneOf, _:
                yield {"not": {"enum": _literals(field, validator.iterable)}}
            case validate.Regexp, fields.String():
                yield {"pattern": _pattern(field, validator.regex)}
            case validate.URL, fields.String() if not validator.relative:
                yield {"pattern": _url_pattern(validator)}
            case validate.Email, fields.String():
                yield {"pattern": rf"^{_MAILBOX}(\.{_MAILBOX})*@({_DOMAIN}|localhost)$"}
            case kind, _:
                refuse(
                    place_of(field),
                    f"the validator {getattr(validator, '__name__', kind.__name__)}",
                    _INSTEAD.get(kind, f"write one that fits fields.{type(field).__name__} or give it a json_schema"),
                )


def _range(validator: validate.Range) -> Keywords:
    keywords = {
        "minimum" if validator.min_inclusive else "exclusiveMinimum": validator.min,
        "maximum" if validator.max_inclusive else "exclusiveMaximum": validator.max,
    }
    return {name: _number(limit) for name, limit in keywords.items() if limit is not None}


def _number(value: Any) -> Any:
    return float(value) if isinstance(value, Decimal) else value


def _length(validator: validate.Length, what: str) -> Keywords:
    shortest, longest = validator.min, validator.max
    if validator.equal is not None:
        shortest = longest = validator.equal
    keywords = {f"min{what}": shortest, f"max{what}": longest}
    return {name: limit for name, limit in keywords.items() if limit is not None}


def _literals(field: fields.Field[Any], values: Iterable[Any]) -> list[Any]:
    """Return the values as a list; refuse values that JSON and Python compare differently."""
    kinds: set[type] = set()
    match field:
        case fields.String():
            kinds = {str}
        case fields.Boolean():
            kinds = {bool}
        case fields.Integer() | fields.Float():
            kinds = {int, float}
    if isinstance(values, str) or not {type(value) for value in values} <= kinds:
        refuse(
            place_of(field),
            f"which values of fields.{type(field).__name__} equal {values!r}",
            "give a list of strings to a String, of numbers to an Integer or Float, of booleans to a Boolean",
        )
    return list(values)


def _pattern(field: fields.Field[Any], regex: re.Pattern[str]) -> str:
    """Convert a pattern for ``re.match`` to one for searching.

    Constructs that ECMAScript and Python match differently are refused.
    """
    pattern = regex.pattern
    if regex.flags != re.UNICODE:
        refuse(place_of(field), "flags of a pattern", "write what they mean into it, such as [Aa] for re.IGNORECASE")
    shorthands = {escape for escape in _ESCAPE.findall(pattern) if len(escape) == 1 and escape.isalnum()}
    unknown = {f"\\{escape}" for escape in shorthands.difference("nrtfv")}
    unknown.update(_NOT_PORTABLE.findall(_ESCAPE.sub("", pattern)))
    if unknown:
        refuse(
            place_of(field),
            f"{' '.join(sorted(unknown))} in a pattern, which Python and ECMAScript read differently",
            r"write [0-9] for \d, [A-Za-z0-9_] for \w, $ for \Z, and no lookaround or named group",
        )
    return pattern if pattern.startswith("^") and "|" not in pattern else f"^(?:{pattern})"


def _url_pattern(validator: validate.URL) -> str:
    hosts = [rf"{_DOMAIN}\.?", "localhost", r"[0-9]{1,3}(\.[0-9]{1,3}){3}", r"\[[A-Fa-f0-9]*:[A-Fa-f0-9:]+\]"]
    if not validator.require_tld:
        hosts.append(rf"{_LABEL}\.?")
    schemes = "|".join(sorted(validator.schemes))
    return rf"^({schemes})://({_LOGIN})?({'|'.join(hosts)})(:[0-9]+)?(/|[/?#][!-~]+)?$"
