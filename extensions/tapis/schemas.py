"""The bodies of requests (Tapis Notifications, live docs: Event, EventSeries, ReqPostSubscription and others)."""

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from marshmallow import EXCLUDE, RAISE, ValidationError, fields, validate
from marshmallow.types import UnknownOption

from extension_kit.protocol import CamelCase

from .flat_schema import FlatSchema, TrueOrFalse

METHODS = ("WEBHOOK", "EMAIL")
MAX_TARGETS = 100
"""Delivery targets of a subscription: it bounds the deliveries that one event can cause."""

MAX_TTL = 100 * 366 * 24 * 60
"""Minutes. A bound is needed, because a datetime ends with the year 9999."""

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
            ValidationError: the text does not match.
        """
        if not self._matches(text):
            raise ValidationError(self._error)


class Storable:
    """A validator for texts that every database can keep."""

    json_schema: ClassVar[dict[str, Any]] = {"pattern": "^[^\u0000]*$"}

    def __call__(self, text: str) -> None:
        """Check a text.

        Raises:
            ValidationError: the text holds the character U+0000.
        """
        if "\x00" in text:
            raise ValidationError("It must not hold the character U+0000.")


class Different:
    """A validator for lists of objects of texts that refuses equal items."""

    json_schema: ClassVar[dict[str, Any]] = {"uniqueItems": True}

    def __call__(self, items: list[dict[str, Any]]) -> None:
        """Check a list.

        Raises:
            ValidationError: two items are equal.
        """
        if len({frozenset(item.items()) for item in items}) < len(items):
            raise ValidationError("No item may come twice.")


class WholeNumber(fields.Integer):
    """An integer of JSON; a text of digits is refused."""

    def json_schema(self, ref: object) -> dict[str, Any]:
        """Return the JSON Schema of the accepted values."""
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


class Event(FlatSchema):
    """An event that a service publishes. Further attributes are ignored."""

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


class EventSeries(CamelCase):
    """A series to end."""

    class Meta:
        unknown: UnknownOption = EXCLUDE

    source = fields.String(required=True, validate=validate.Length(1))
    subject = fields.String(required=True, validate=validate.Length(1))
    series_id = fields.String(required=True, validate=validate.Length(1))


class DeliveryTarget(CamelCase):
    """A delivery target."""

    class Meta:
        unknown: UnknownOption = RAISE

    delivery_method = fields.String(required=True, validate=validate.OneOf(METHODS))
    delivery_address = fields.String(required=True, validate=[validate.Length(3, 2000), Storable()])
    domain = fields.String(allow_none=True, load_default=None, metadata={"description": "Ignored"})


def _targets(*, required: bool) -> fields.List[Any]:
    return fields.List(
        fields.Nested(DeliveryTarget), required=required, validate=[validate.Length(1, MAX_TARGETS), Different()]
    )


class ReqPatchSubscription(CamelCase):
    """A change of a subscription; attributes that are missing or null stay as they are."""

    class Meta:
        unknown: UnknownOption = RAISE

    description = fields.String(allow_none=True, validate=[validate.Length(max=2048), Storable()])
    type_filter = fields.String(validate=_is_type_filter)
    subject_filter = fields.String(validate=[validate.Length(1, 150), Storable()])
    delivery_targets = _targets(required=False)


class ReqPostSubscription(CamelCase):
    """A new subscription."""

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


class ReqSearchSubscriptions(CamelCase):
    """A condition in parts, which are joined with blanks."""

    class Meta:
        unknown: UnknownOption = RAISE

    search = fields.List(fields.String(), required=True, validate=validate.Length(1))


class Notification(CamelCase):
    """A notification as receivers get it. Further attributes are ignored."""

    class Meta:
        unknown: UnknownOption = EXCLUDE

    uuid = fields.String(required=True)
    tenant = fields.String(required=True)
    subscription_name = fields.String(required=True)
    delivery_target = fields.Nested(DeliveryTarget, required=True)
    event_uuid = fields.String()
    event = fields.Dict(required=True)
    created = fields.String(required=True)


def describe(problems: Mapping[str, Any]) -> str:
    """Return all problems of a body on one line."""
    return "; ".join(_lines(problems, ""))


def _lines(found: Any, place: str) -> list[str]:
    if isinstance(found, Mapping):
        return [line for key, inner in found.items() for line in _lines(inner, f"{place}.{key}" if place else str(key))]
    if isinstance(found, list):
        return [f"{place}: {text}" if place and place != "_schema" else str(text) for text in found]
    return [f"{place}: {found}"]
