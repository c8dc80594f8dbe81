"""The OpenAPI document of the Tapis API, made from ``OPERATIONS`` and the schemas of bodies."""

from functools import cache
from importlib.metadata import version
from typing import Any

import orjson

from extension_kit.protocol import (
    OpenApiBuilder,
    json_request,
    json_response,
    json_schema_components,
    path_parameters,
    query_parameter,
)

from .operations import BASE, OPERATIONS, Operation
from .paging import DEFAULT_LIMIT
from .sequences import MAX_EVENTS

Document = dict[str, Any]

_STRING: Document = {"type": "string"}
_INTEGER: Document = {"type": "integer"}
_BOOLEAN: Document = {"type": "boolean"}
_TEXT_OR_NULL: Document = {"type": ["string", "null"]}

_QUERY: dict[str, tuple[Document, str]] = {
    "search": (_STRING, "Conditions, such as (name.like.a*)~(enabled.eq.true)"),
    "conditions": (
        {"type": "object", "additionalProperties": _STRING},
        "Conditions, such as name.like=a* and enabled.eq=true",
    ),
    "limit": ({**_INTEGER, "minimum": -1, "default": DEFAULT_LIMIT}, "How many at most; -1: all"),
    "orderBy": (_STRING, "Attributes to sort by, such as name(asc),created(desc)"),
    "skip": ({**_INTEGER, "minimum": 0, "default": 0}, "How many are left out at the beginning"),
    "startAfter": (_STRING, "Those behind this value of the first attribute of orderBy; not together with skip"),
    "computeTotal": ({**_BOOLEAN, "default": False}, "True to count all items that meet the conditions"),
    "select": (_STRING, "Attributes, separated by commas; also allAttributes and summaryAttributes"),
    "ownedBy": (_STRING, "Of another user than the caller; for services and administrators of the tenant"),
    "anyOwner": ({**_BOOLEAN, "default": False}, "Of all users; for services"),
    "tenant": (_STRING, "The tenant of the event; by default the tenant of the user for whom the service acts"),
    "subscriptionTTL": ({**_INTEGER, "default": 60}, "Minutes that the subscription lives; 0: for ever"),
    "numberOfEvents": (
        {**_INTEGER, "minimum": 1, "maximum": MAX_EVENTS, "default": 1},
        "Events that are published, one every three seconds",
    ),
    "endSeries": ({**_BOOLEAN, "default": True}, "True if the last event ends the series"),
}
_PATH: dict[str, Document] = {
    "name": _STRING,
    "uuid": {"type": "string", "format": "uuid"},
    "subject": _STRING,
    "ttlMinutes": _INTEGER,
}
_ERRORS = {
    400: "The request is not valid",
    401: "The caller is not let in, or may not do this",
    404: "There is no such thing",
    409: "There is one of this name already",
    500: "The database cannot be used at the moment; nothing was changed",
    503: "The database cannot be used at the moment",
}

_SUBSCRIPTION: Document = {
    "type": "object",
    "properties": {
        "tenant": _STRING,
        "name": _STRING,
        "description": _TEXT_OR_NULL,
        "owner": _STRING,
        "enabled": _BOOLEAN,
        "typeFilter": _STRING,
        "subjectFilter": _STRING,
        "deliveryTargets": {"type": "array", "items": {"$ref": "#/components/schemas/DeliveryTarget"}},
        "ttlMinutes": _INTEGER,
        "uuid": _STRING,
        "expiry": _TEXT_OR_NULL,
        "created": _STRING,
        "updated": _STRING,
    },
    "required": ["name"],
}
_METADATA: Document = {
    "type": "object",
    "properties": {
        "recordCount": _INTEGER,
        "recordLimit": _INTEGER,
        "recordsSkipped": _INTEGER,
        "orderBy": _TEXT_OR_NULL,
        "startAfter": _TEXT_OR_NULL,
        "totalCount": _INTEGER,
    },
}
_TEST_SEQUENCE: Document = {
    "type": "object",
    "properties": {
        "tenant": _STRING,
        "owner": _STRING,
        "subscriptionName": _STRING,
        "startCount": _INTEGER,
        "notificationCount": _INTEGER,
        "receivedNotifications": {"type": "array", "items": {"type": "object"}},
        "created": _STRING,
        "updated": _STRING,
        "subscription": {"anyOf": [{"$ref": "#/components/schemas/TapisSubscription"}, {"type": "null"}]},
        "receivedEvents": {"type": "array", "items": {"type": "object"}},
    },
}


def _object(name: str, schema: Document) -> Document:
    return {"type": "object", "properties": {name: schema}, "required": [name]}


_RESULTS: dict[str, Document] = {
    "RespBasic": _TEXT_OR_NULL,
    "RespBoolean": _object("aBool", _BOOLEAN),
    "RespChangeCount": _object("changes", _INTEGER),
    "RespResourceUrl": {"anyOf": [_object("url", _STRING), {"type": "null"}]},
    "RespSubscription": {"$ref": "#/components/schemas/TapisSubscription"},
    "RespSubscriptions": {"type": "array", "items": {"$ref": "#/components/schemas/TapisSubscription"}},
    "RespTestSequence": _TEST_SEQUENCE,
}


def build_document() -> Document:
    """Make the OpenAPI document."""
    builder = OpenApiBuilder(
        "Tapis Notifications",
        version("extension-kit"),
        "Subscriptions, events and their delivery, as Tapis Notifications has them.",
    )
    builder.components.security_scheme("TapisJWT", {"type": "apiKey", "in": "header", "name": "X-Tapis-Token"})
    bodies = [each.body for each in OPERATIONS.values() if each.body is not None]
    builder.add_schemas(json_schema_components(*dict.fromkeys(bodies)) | {"TapisSubscription": _SUBSCRIPTION})
    for name, result in _RESULTS.items():
        metadata = _METADATA if name == "RespSubscriptions" else {"type": "null"}
        builder.components.schema(name, _envelope(result, metadata))
    for operation in OPERATIONS.values():
        builder.add_operation(operation.method, f"{BASE}{operation.path}", _operation(operation))
    return builder.build()


@cache
def document() -> bytes:
    """Return the OpenAPI document as JSON."""
    return orjson.dumps(build_document())


def _envelope(result: Document, metadata: Document) -> Document:
    return {
        "type": "object",
        "properties": {
            "status": _STRING,
            "message": _STRING,
            "version": _STRING,
            "commit": _TEXT_OR_NULL,
            "build": _TEXT_OR_NULL,
            "metadata": metadata,
            "result": result,
        },
        "required": ["status", "message", "version", "commit", "build", "metadata", "result"],
    }


def _operation(operation: Operation) -> Document:
    errors = (400, *((401,) if operation.needs_token else ()), *operation.errors, 500)
    found: Document = {
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": operation.summary,
        "parameters": [
            *path_parameters(operation.path, _PATH),
            *(query_parameter(name, *_QUERY[name]) for name in operation.query),
        ],
        "responses": {
            str(operation.status): json_response("Done", operation.result),
            # Only this error has a result.
            **{
                str(each): json_response(_ERRORS[each], "RespResourceUrl" if each == 409 else "RespBasic")
                for each in errors
            },
        },
    }
    if operation.body is not None:
        found["requestBody"] = json_request(operation.body.__name__)
    if operation.needs_token:
        found["security"] = [{"TapisJWT": []}]
    if operation.deprecated:
        found["deprecated"] = True
    return found
