"""Flat schema: a marshmallow schema of texts and booleans, which loads values without conversion by a short way."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from marshmallow import EXCLUDE, ValidationError, fields, missing
from marshmallow.types import UnknownOption

from extension_kit.protocol import CamelCase


class TrueOrFalse(fields.Boolean):
    """A boolean of JSON; texts and numbers are refused."""

    def json_schema(self, ref: object) -> dict[str, Any]:
        """Return the JSON Schema of the accepted values."""
        return {"type": "boolean"}

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> bool:
        if not isinstance(value, bool):
            raise self.make_error("invalid", input=value)
        return value


class _Field(NamedTuple):
    name: str
    key: str
    kind: type | None  # of values that are loaded as they are; None: none
    required: bool
    allow_none: bool
    default: Any
    validators: Sequence[Any]


class FlatSchema(CamelCase):
    """Base of schemas for JSON objects of texts and booleans, in which further attributes are ignored.

    An object without mistakes takes a fraction of marshmallow's time, and gives the same. Any other one goes to
    marshmallow, which names the mistakes.
    """

    class Meta:
        unknown: UnknownOption = EXCLUDE

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._flat = [_flat(name, field) for name, field in self.load_fields.items()]
        self._is_flat = self.unknown == EXCLUDE and not (self.many or self.partial)

    def load(
        self,
        data: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        *,
        many: bool | None = None,
        partial: Any = None,
        unknown: UnknownOption | None = None,
    ) -> Any:
        """Load an object, as ``Schema.load`` does.

        Raises:
            ValidationError: it does not match.
        """
        if self._is_flat and isinstance(data, dict) and not (many or partial or unknown):
            loaded: dict[str, Any] = {}
            if self._load_flat(data, loaded):
                return loaded
        return super().load(data, many=many, partial=partial, unknown=unknown)

    def _load_flat(self, data: Mapping[str, Any], loaded: dict[str, Any]) -> bool:
        try:
            for name, key, kind, required, allow_none, default, validators in self._flat:
                value = data.get(key, missing)
                if value is missing:
                    if required:
                        return False
                    if default is not missing:
                        loaded[name] = default
                    continue
                if type(value) is kind:
                    for validate in validators:
                        validate(value)
                elif value is not None or not allow_none:
                    return False
                loaded[name] = value
        except ValidationError:
            return False
        return True


_KINDS: Mapping[type, type] = {fields.String: str, TrueOrFalse: bool}


def _flat(name: str, field: fields.Field[Any]) -> _Field:
    return _Field(
        name,
        field.data_key or name,
        _KINDS.get(type(field)),
        field.required,
        field.allow_none,
        field.load_default,
        field.validators,
    )
