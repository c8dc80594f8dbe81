"""Schemas of requests' bodies in the OpenAPI document.

They are narrower than the bodies that are taken: eventhos's web page sends numbers as texts, and more keys.
"""

from typing import Any

from .schemas import (
    LARGEST_ORDER,
    LONGEST_BODY,
    LONGEST_DESCRIPTION,
    LONGEST_EXPRESSION,
    LONGEST_URL,
    LONGEST_VALUE,
    LONGEST_WAIT,
    METHODS,
    MOST_ORDERS,
    MOST_PAIRS,
    MOST_WAITS,
)
from .tables import CLASSES, LARGEST_ID

Document = dict[str, Any]

_NO_NUL = r"^[^\u0000]*$"

ID: Document = {"type": "integer", "minimum": 1, "maximum": LARGEST_ID}

_ONE_LINE = r"^[^\u0000-\u001f\u007f]*$"
_TEMPLATE = "Placeholders, such as `${.body.name}`, stand for values of the event"

_FLAG: Document = {"type": "boolean"}
_ORDER: Document = {"type": "integer", "minimum": 0, "maximum": LARGEST_ORDER}
_IDENTIFIER: Document = {"type": "string", "pattern": "^[A-Za-z0-9_.:-]{1,64}$"}
_SYSTEM_CLASS: Document = {"enum": list(CLASSES)}


def _text(longest: int, shortest: int = 1) -> Document:
    return {"type": "string", "minLength": shortest, "maxLength": longest, "pattern": _NO_NUL}


def _optional(longest: int, **more: Any) -> Document:
    """Return the schema of a text with further keywords; null is an empty one."""
    return {"type": ["string", "null"], "maxLength": longest, **more}


def _stored(longest: int, **more: Any) -> Document:
    return _optional(longest, pattern=_NO_NUL, **more)


def _object(properties: dict[str, Document], *required: str) -> Document:
    found: Document = {"type": "object", "properties": properties}
    return {**found, "required": list(required)} if required else found


def _pairs(pair: Document, description: str) -> Document:
    return {"type": ["array", "null"], "maxItems": MOST_PAIRS, "items": pair, "description": description}


def _scalar(pattern: str) -> Document:
    return {
        "type": ["string", "number", "boolean", "null"],
        "maxLength": LONGEST_VALUE,
        "pattern": pattern,
        "description": _TEMPLATE,
    }


_HEADER = _object(
    {
        "key": {"type": "string", "pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,200}$"},
        "value": _scalar(_ONE_LINE),
        "secret": {**_FLAG, "description": "True: answers show `****`, which in a change stands for the kept value"},
    },
    "key",
)
_PARAMETER = _object(
    {"key": {"type": "string", "minLength": 1, "maxLength": 200, "pattern": _ONE_LINE}, "value": _scalar(_NO_NUL)},
    "key",
)
_MEMBER = _object(
    {"key": {"type": "string", "maxLength": 200}, "value": {"description": f"Any JSON value. {_TEMPLATE}"}}, "key"
)

_SYSTEM: dict[str, Document] = {
    "systemClass": _SYSTEM_CLASS,
    "name": _text(100),
    "type": _stored(45, description="Such as Microservice or ERP"),
    "description": _stored(LONGEST_DESCRIPTION),
    "clientId": {
        "type": ["integer", "string", "null"],
        "description": "The client whose keys send the system's events: its number or its clientId; null: none",
    },
}
_EVENT: dict[str, Document] = {
    "name": _text(100),
    "operation": _stored(25, description="Such as new, update or delete"),
    "description": _stored(LONGEST_DESCRIPTION),
}
_ACTION: dict[str, Document] = {
    "name": _text(100),
    "operation": _stored(25),
    "description": _stored(LONGEST_DESCRIPTION),
    "reply_to": _stored(100, description="Identifier of the event that the answer is sent as"),
    "url": {
        "type": "string",
        "minLength": 1,
        "maxLength": LONGEST_URL,
        "pattern": _ONE_LINE,
        "description": _TEMPLATE,
    },
    "method": {"enum": [*METHODS, *(name.lower() for name in METHODS)]},
    "headers": _pairs(_HEADER, "Headers of the request"),
    "queryUrlParams": _pairs(_PARAMETER, "Parameters that are added to the URL"),
    "body": _pairs(_MEMBER, "Members of the body, if rawBody is missing or null"),
    "rawBody": {"description": "Any JSON value, or JSON as a text. Without members, the event's body is passed on"},
    "bodyExpression": _optional(LONGEST_EXPRESSION, description="JMESPath expression that makes the body"),
    "rawFunctionBody": _optional(LONGEST_BODY, description="Has to be empty: JavaScript is not run"),
    "securityType": {
        "enum": [0, 1, "0", "1", "custom", "oauth2_client", None],
        "description": "1, oauth2_client: a token is fetched before each call",
    },
    "securityUrl": _optional(LONGEST_URL, pattern=_ONE_LINE, description="URL of the token endpoint"),
    "clientId": _optional(LONGEST_VALUE),
    "clientSecret": _optional(LONGEST_VALUE, description="Empty or `****`: the kept one"),
}
_CONTRACT: dict[str, Document] = {
    "name": _text(200),
    "active": _FLAG,
    "order": {**_ORDER, "description": "Contracts of equal order run at once, others one after the other"},
    "mailRecipientsOnError": _stored(200, description="E-mail addresses, separated by commas"),
    "stopOnError": {**_FLAG, "description": "True: contracts of higher order do not run after an error"},
    "inOrder": {**_FLAG, "description": "True: the calls of the contract are made in the order of the events"},
    "retrySchedule": {
        "type": ["array", "null"],
        "maxItems": MOST_WAITS,
        "items": {"type": "number", "minimum": 0, "maximum": LONGEST_WAIT},
        "description": "Seconds between attempts; null: as the settings of the server say",
    },
}
_CLIENT: dict[str, Document] = {
    "name": _text(100),
    "description": _text(LONGEST_DESCRIPTION, 0),
    "roles": {"type": "array", "maxItems": 100, "items": _object({"id": {"type": "integer"}}, "id")},
}
_CREDENTIAL = _text(1000)

BODIES: dict[str, Document] = {
    "AnyValue": {"description": "Any JSON value"},
    "ContractDetail": _object(
        {"contractDetailId": {**ID, "description": "`detailId` of an execution in the event log"}}, "contractDetailId"
    ),
    "SystemChange": _object(_SYSTEM),
    "NewSystem": _object({**_SYSTEM, "identifier": _IDENTIFIER}, "systemClass", "identifier", "name"),
    "EventChange": _object(_EVENT),
    "NewEvent": _object({**_EVENT, "system_id": ID, "identifier": _IDENTIFIER}, "system_id", "identifier", "name"),
    "ActionChange": _object(_ACTION, "url", "method"),
    "NewAction": _object(
        {**_ACTION, "system_id": ID, "identifier": _IDENTIFIER}, "system_id", "identifier", "name", "url", "method"
    ),
    "ContractChange": _object(_CONTRACT),
    "NewContract": _object(
        {**_CONTRACT, "eventId": ID, "actionId": ID, "identifier": _IDENTIFIER},
        "eventId",
        "actionId",
        "identifier",
        "name",
    ),
    "ContractOrders": _object(
        {
            "orders": {
                "type": "array",
                "maxItems": MOST_ORDERS,
                "items": _object({"contractId": ID, "order": _ORDER}, "contractId", "order"),
            }
        },
        "orders",
    ),
    "Login": _object({"username": _CREDENTIAL, "password": _CREDENTIAL}, "username", "password"),
    "Grant": _object(
        {
            "grant_type": {
                **_CREDENTIAL,
                "description": "client_credentials; or password, with those of the administrator",
            },
            "client_id": _CREDENTIAL,
            "client_secret": _CREDENTIAL,
        },
        "grant_type",
        "client_id",
        "client_secret",
    ),
    "ClientChange": _object(_CLIENT),
    "NewClient": _object({**_CLIENT, "identifier": _text(100)}, "identifier", "name"),
    "LongLive": _object(
        {
            "longLive": {**_FLAG, "description": "True makes a further key; false revokes all keys"},
            "expiresInDays": {"type": "integer", "minimum": 1, "maximum": 3650, "description": "By default never"},
        },
        "longLive",
    ),
    "Revocation": _object({"revoke": {**_FLAG, "default": True}}),
}
"""Schemas by component."""
