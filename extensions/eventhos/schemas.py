"""Bodies of the management API's requests; unknown keys are ignored, because eventhos's web page sends more."""

from collections.abc import Callable

from marshmallow import ValidationError, fields, validate

from .body_fields import (
    NO_NUL,
    Body,
    BoundedList,
    ClientOfSystem,
    OptionalText,
    Scalar,
    Seconds,
    SecurityType,
    WholeNumber,
    is_id,
    text,
)
from .tables import CLASSES

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
LONGEST_DESCRIPTION = 10_000
LONGEST_VALUE = 8_000  # of a header, a parameter or a secret
LONGEST_URL = 2_000
LONGEST_EXPRESSION = 2_000
LONGEST_BODY = 1_000_000
LONGEST_RECIPIENTS = 200
MOST_PAIRS = 100
MOST_ORDERS = 1_000
MOST_WAITS = 100
LONGEST_WAIT = 30 * 86400
LARGEST_ORDER = 2**15 - 1
_FRAMING = ("host", "content-length", "transfer-encoding", "connection")

_ONE_LINE = validate.Regexp(r"[^\x00-\x1f\x7f]*\Z", error="It must not hold line breaks or other control characters.")
_IS_IDENTIFIER = validate.Regexp(
    r"[A-Za-z0-9_.:-]{1,64}\Z", error="It has to be 1 to 64 letters, digits or characters of _.-:"
)
_ARE_RECIPIENTS = validate.Regexp(
    rf"(?s:(?!.{{{LONGEST_RECIPIENTS + 1}}}))\s*([^@\s,]+@[^@\s,]+\s*(,\s*[^@\s,]+@[^@\s,]+\s*)*)?\Z",
    error="It has to be e-mail addresses, separated by commas.",
)
_is_order = validate.Range(0, LARGEST_ORDER)


def _is_method(name: str) -> None:
    validate.OneOf(METHODS)(name.upper())


def _is_header_name(name: str) -> None:
    if name.lower() in _FRAMING:
        raise ValidationError("It is set by the connection.")


_are_header_names: list[Callable[[str], object]] = [
    validate.Regexp(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,200}\Z", error="It is no name of a header."),
    _is_header_name,
]


def _identifier() -> fields.String:
    return fields.String(required=True, validate=_IS_IDENTIFIER)


class SystemChange(Body):
    """A change of a system; keys that are missing stay as they are."""

    system_class = fields.String(data_key="systemClass", attribute="class", validate=validate.OneOf(CLASSES))
    name = text(100, 1)
    type = OptionalText(validate=[validate.Length(max=45), NO_NUL])
    description = OptionalText(validate=[validate.Length(max=LONGEST_DESCRIPTION), NO_NUL])
    client = ClientOfSystem(data_key="clientId", allow_none=True)


class NewSystem(SystemChange):
    """A new system."""

    system_class = fields.String(
        required=True, data_key="systemClass", attribute="class", validate=validate.OneOf(CLASSES)
    )
    identifier = _identifier()
    name = text(100, 1, required=True)


class EventChange(Body):
    """A change of an event; keys that are missing stay as they are."""

    name = text(100, 1)
    operation = OptionalText(validate=[validate.Length(max=25), NO_NUL])
    description = OptionalText(validate=[validate.Length(max=LONGEST_DESCRIPTION), NO_NUL])


class NewEvent(EventChange):
    """A new event."""

    system = WholeNumber(required=True, data_key="system_id", validate=is_id)
    identifier = _identifier()
    name = text(100, 1, required=True)


class _Parameter(Body):
    key = fields.String(required=True, validate=[validate.Length(1, 200), _ONE_LINE])
    value = Scalar(load_default="", validate=[validate.Length(max=LONGEST_VALUE), NO_NUL])


class _Header(Body):
    key = fields.String(required=True, validate=_are_header_names)
    value = Scalar(load_default="", validate=[validate.Length(max=LONGEST_VALUE), _ONE_LINE])
    secret = fields.Boolean(load_default=False)


class _Member(Body):
    key = fields.String(required=True, validate=validate.Length(max=200))
    value = fields.Raw(load_default=None, allow_none=True)


def _pairs(schema: type[Body], key: str) -> BoundedList:
    return BoundedList(fields.Nested(schema), MOST_PAIRS, data_key=key, load_default=None, allow_none=True)


class ActionChange(Body):
    """A change of an action: the request as a whole; other keys that are missing stay as they are."""

    name = text(100, 1)
    operation = OptionalText(validate=[validate.Length(max=25), NO_NUL])
    description = OptionalText(validate=[validate.Length(max=LONGEST_DESCRIPTION), NO_NUL])
    reply_to = OptionalText(validate=[validate.Length(max=100), NO_NUL])
    url = fields.String(required=True, validate=[validate.Length(1, LONGEST_URL), _ONE_LINE])
    method = fields.String(required=True, validate=_is_method)
    headers = _pairs(_Header, "headers")
    params = _pairs(_Parameter, "queryUrlParams")
    members = _pairs(_Member, "body")
    raw_body = fields.Raw(data_key="rawBody", load_default=None, allow_none=True)
    expression = OptionalText(
        data_key="bodyExpression", load_default="", validate=validate.Length(max=LONGEST_EXPRESSION)
    )
    function = OptionalText(data_key="rawFunctionBody", load_default="", validate=validate.Length(max=LONGEST_BODY))
    security_type = SecurityType(data_key="securityType", load_default=None, allow_none=True)
    security_url = OptionalText(
        data_key="securityUrl", load_default="", validate=[validate.Length(max=LONGEST_URL), _ONE_LINE]
    )
    client_id = OptionalText(data_key="clientId", load_default="", validate=validate.Length(max=LONGEST_VALUE))
    client_secret = OptionalText(data_key="clientSecret", load_default="", validate=validate.Length(max=LONGEST_VALUE))


class NewAction(ActionChange):
    """A new action."""

    system = WholeNumber(required=True, data_key="system_id", validate=is_id)
    identifier = _identifier()
    name = text(100, 1, required=True)


class ContractChange(Body):
    """A change of a contract; keys that are missing stay as they are."""

    name = text(200, 1)
    active = fields.Boolean()
    order = WholeNumber(validate=_is_order)
    mail_recipients = OptionalText(
        data_key="mailRecipientsOnError", validate=[validate.Length(max=LONGEST_RECIPIENTS), NO_NUL, _ARE_RECIPIENTS]
    )
    stop_on_error = fields.Boolean(data_key="stopOnError")
    in_order = fields.Boolean(data_key="inOrder")
    retry = BoundedList(
        Seconds(validate=validate.Range(0, LONGEST_WAIT)), MOST_WAITS, data_key="retrySchedule", allow_none=True
    )


class NewContract(ContractChange):
    """A new contract."""

    event = WholeNumber(required=True, data_key="eventId", validate=is_id)
    action = WholeNumber(required=True, data_key="actionId", validate=is_id)
    identifier = _identifier()
    name = text(200, 1, required=True)


class _Order(Body):
    id = WholeNumber(required=True, data_key="contractId", validate=is_id)
    order = WholeNumber(required=True, validate=_is_order)


class ContractOrders(Body):
    """New orders of contracts."""

    orders = BoundedList(fields.Nested(_Order), MOST_ORDERS, required=True)
