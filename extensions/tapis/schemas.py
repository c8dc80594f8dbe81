"""The bodies of requests (Tapis Notifications, live docs: Event, EventSeries, ReqPostSubscription and others)."""

import re
from typing import Any, ClassVar

from marshmallow import EXCLUDE, RAISE, Schema, ValidationError, fields, validate
from marshmallow.types import UnknownOption

METHODS = ("WEBHOOK", "EMAIL")
MAX_TARGETS = 100
"""Delivery targets of a subscription, so that none of them can be answered for by a thousand deliveries."""

MAX_TTL = 100 * 366 * 24 * 60
"""Minutes. Longer ones are as good as none, and times have an end."""

DEFAULT_TTL = 7 * 24 * 60

_WORD = "[a-zA-Z][-a-zA-Z0-9_~]*"
_TYPE = rf"[a-z]+\.{_WORD}\.{_WORD}"
_TYPE_FILTER = rf"[a-z]+\.({_WORD}|\*)\.({_WORD}|\*)"
_NAME = "[a-zA-Z0-9][-a-zA-Z0-9._~]*"


class Matches:
    """A validator for texts that match a pattern from beginning to end."""

    def __init__(self, pattern: str, error: str) -> None:
        self._matches = re.compile(pattern).fullmatch
        self._error = error
        self.json_schema = {"pattern": f"^{pattern}$"}

    def __call__(self, text: str) -> None:
        """Check a text.

        Raises:
            ValidationError: it does not match.
        """
        if not self._matches(text):
            raise ValidationError(self._error)


class Storable:
    """A validator for texts that every database can keep."""

    json_schema: ClassVar[dict[str, Any]] = {"pattern": "^[^\u0000]*$"}

    def __call__(self, text: str) -> None:
        """Check a text.

        Raises:
            ValidationError: it holds the character U+0000.
        """
        if "\x00" in text:
            raise ValidationError("It must not hold the character U+0000.")


class Different:
    """A validator for lists of objects of texts in which no item may come twice."""

    json_schema: ClassVar[dict[str, Any]] = {"uniqueItems": True}

    def __call__(self, items: list[dict[str, Any]]) -> None:
        """Check a list.

        Raises:
            ValidationError: an item comes twice.
        """
        if len({frozenset(item.items()) for item in items}) < len(items):
            raise ValidationError("No item may come twice.")


class TrueOrFalse(fields.Boolean):
    """A boolean of JSON, and nothing that looks like one."""

    def json_schema(self, ref: object) -> dict[str, Any]:
        """Say what is accepted."""
        return {"type": "boolean"}

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> bool:
        if not isinstance(value, bool):
            raise self.make_error("invalid", input=value)
        return value


class WholeNumber(fields.Integer):
    """An integer of JSON, and no text of digits."""

    def json_schema(self, ref: object) -> dict[str, Any]:
        """Say what is accepted."""
        return {"type": "integer"}

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        if isinstance(value, bool) or not (isinstance(value, int) or (isinstance(value, float) and value.is_integer())):
            raise self.make_error("invalid", input=value)
        return int(value)


# Each character can be matched by one part only: a long text that does not match is read once, not once per character.
_NOT_BLANK = Matches(r"\s*[^\s\u0000][^\u0000]*", "It must not be blank.")
_is_type = (
    validate.Length(5, 128),
    Matches(_TYPE, "It has to be service.category.detail, the service in lower-case letters."),
)
_is_type_filter = (
    validate.Length(5, 128),
    Matches(_TYPE_FILTER, "It has to be service.category.detail, with * for a whole category or detail, or both."),
)


class Body(Schema):
    """An object of the wire: keys in camelCase."""

    def on_bind_field(self, field_name: str, field_obj: fields.Field[Any]) -> None:
        """Derive the key on the wire from the name here."""
        first, *others = field_name.split("_")
        field_obj.data_key = first + "".join(map(str.capitalize, others))


class Event(Body):
    """What services publish. Further attributes are ignored."""

    class Meta:
        unknown: UnknownOption = EXCLUDE

    source = fields.String(required=True, validate=_NOT_BLANK)
    type = fields.String(required=True, validate=_is_type)
    timestamp = fields.String(required=True, validate=_NOT_BLANK)
    subject = fields.String(load_default=None, allow_none=True)
    data = fields.String(load_default=None, allow_none=True)
    series_id = fields.String(load_default=None, allow_none=True)
    end_series = TrueOrFalse(load_default=False)
    delete_subscriptions_matching_subject = TrueOrFalse(load_default=False)
    tenant = fields.String(metadata={"description": "Ignored"})
    user = fields.String(metadata={"description": "Ignored"})
    uuid = fields.String(metadata={"description": "Ignored"})
    received = fields.String(metadata={"description": "Ignored"})
    series_seq_count = WholeNumber(metadata={"description": "Ignored"})


class EventSeries(Body):
    """Which series is to end."""

    class Meta:
        unknown: UnknownOption = EXCLUDE

    source = fields.String(required=True, validate=validate.Length(1))
    subject = fields.String(required=True, validate=validate.Length(1))
    series_id = fields.String(required=True, validate=validate.Length(1))


class DeliveryTarget(Body):
    """Where notifications go to."""

    class Meta:
        unknown: UnknownOption = RAISE

    delivery_method = fields.String(required=True, validate=validate.OneOf(METHODS))
    delivery_address = fields.String(required=True, validate=[validate.Length(3, 2000), Storable()])
    domain = fields.String(allow_none=True, load_default=None, metadata={"description": "Ignored"})


def _targets(*, required: bool) -> fields.List[Any]:
    return fields.List(
        fields.Nested(DeliveryTarget), required=required, validate=[validate.Length(1, MAX_TARGETS), Different()]
    )


class ReqPatchSubscription(Body):
    """What of a subscription can be changed; what is missing or null stays."""

    class Meta:
        unknown: UnknownOption = RAISE

    description = fields.String(allow_none=True, validate=[validate.Length(max=2048), Storable()])
    type_filter = fields.String(validate=_is_type_filter)
    subject_filter = fields.String(validate=[validate.Length(1, 150), Storable()])
    delivery_targets = _targets(required=False)


class ReqPostSubscription(Body):
    """A subscription that is to be made."""

    class Meta:
        unknown: UnknownOption = RAISE

    name = fields.String(
        load_default=None,
        allow_none=True,
        validate=[
            validate.Length(max=188),
            Matches(f"({_NAME})?", "It has to begin with a letter or digit, and - . _ ~ may follow beside them."),
        ],
    )
    description = fields.String(load_default=None, allow_none=True, validate=[validate.Length(max=2048), Storable()])
    owner = fields.String(load_default="${apiUserId}", validate=[validate.Length(1, 60), _NOT_BLANK])
    enabled = TrueOrFalse(load_default=True)
    type_filter = fields.String(required=True, validate=_is_type_filter)
    subject_filter = fields.String(required=True, validate=[validate.Length(1, 150), Storable()])
    delivery_targets = _targets(required=True)
    ttl_minutes = WholeNumber(load_default=DEFAULT_TTL, validate=validate.Range(-MAX_TTL, MAX_TTL))


class ReqSearchSubscriptions(Body):
    """Parts of a condition, which are joined with blanks."""

    class Meta:
        unknown: UnknownOption = RAISE

    search = fields.List(fields.String(), required=True, validate=validate.Length(1))


class Notification(Body):
    """What receivers get. Further attributes are ignored."""

    class Meta:
        unknown: UnknownOption = EXCLUDE

    uuid = fields.String(required=True)
    tenant = fields.String(required=True)
    subscription_name = fields.String(required=True)
    delivery_target = fields.Nested(DeliveryTarget, required=True)
    event_uuid = fields.String()
    event = fields.Dict(required=True)
    created = fields.String(required=True)


def problems_of(error: ValidationError) -> str:
    """All that is wrong with a body, on one line."""
    return "; ".join(_lines(error.messages, ""))


def _lines(found: Any, place: str) -> list[str]:
    if isinstance(found, dict):
        return [line for key, inner in found.items() for line in _lines(inner, f"{place}.{key}" if place else str(key))]
    if isinstance(found, list):
        return [f"{place}: {text}" if place and place != "_schema" else str(text) for text in found]
    return [f"{place}: {found}"]
