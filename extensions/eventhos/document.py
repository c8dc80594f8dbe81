"""The OpenAPI document of eventhos's API, made from ``OPERATIONS`` and the schemas of bodies and contents."""

from functools import cache
from typing import Any

import orjson
from flask import Response

from extension_kit.protocol import (
    JSON_SCHEMA_DIALECT,
    OpenApiBuilder,
    json_request,
    json_response,
    path_parameters,
    query_parameter,
)

from .api import Api
from .document_bodies import BODIES, ID
from .document_contents import CONTENTS, exactly
from .log_filter import STATES
from .operations import OPERATIONS, Operation
from .tables import CLASSES

Document = dict[str, Any]

_PATH = "/event/openapi.json"
_TEXT: Document = {"type": "string"}
_WHOLE: Document = {"type": "integer"}
_ERRORS = {
    400: (
        "Invalid",
        "An event is not JSON (500000); another body, a parameter or a key is refused, with a code of its resource",
    ),
    401: (
        "Unauthorized",
        "The token is wrong (400001) or expired (400002), or its permissions do not suffice (401002); the access key "
        "is wrong (401201, 401202); the login failed (401001, 400004, 401100), or its name is locked (401003)",
    ),
    403: (
        "Forbidden",
        "There is no token (403002); the client is revoked (403003, 403201), or has keys, no tokens (400011, 403100)",
    ),
    404: ("Missing", "There is no such thing, which the message names, or no such path (500000); nothing was changed"),
    413: ("TooLarge", "The body is larger than the server accepts (500000)"),
    503: ("Unavailable", "The database cannot be used (500204); nothing was changed"),
}
_RETRIED = (401, 503)
_GROUPS = {
    "sending": "Events that are sent, and contracts that are sent again",
    "log": "Received events, and what their contracts did",
    "events": "Events that systems may send",
    "systems": "Producers and consumers",
    "actions": "Requests to other systems",
    "contracts": "Which action an event runs, and when",
    "clients": "Logins, clients, their keys and roles",
}
_QUERY: dict[str, tuple[Document, str]] = {
    "systemId": ({**_WHOLE, "minimum": 0}, "Of this system only"),
    "fromTime": (_TEXT, "Since this time: ISO 8601, or milliseconds since 1970"),
    "toTime": (_TEXT, "Until this time: ISO 8601, or milliseconds since 1970"),
    "state": ({"enum": list(STATES)}, "Events of which a contract has this state"),
    "idSearch": ({**_WHOLE, "minimum": 0}, "The event of this number only"),
    "eventIdentifierSearch": (_TEXT, "Events of this identifier"),
    "eventName": (_TEXT, "Events whose name contains it"),
    "systemClass": ({"enum": list(CLASSES)}, "Systems of this class, and hybrid ones"),
    "wordSearch": (_TEXT, "Those whose names or identifiers contain it"),
    "longLive": ({"enum": ["true", "false"]}, "`true` makes a key as well"),
    "itemsPerPage": ({**_WHOLE, "minimum": 1, "default": 5}, "Items of a page; more than 100 count as 100"),
    "pageIndex": ({**_WHOLE, "minimum": 0, "default": 0}, "Number of the page, from 0"),
    "order": ({"enum": ["asc", "desc"]}, "Smallest or largest first; by default asc, and desc in the event log"),
    "activeSort": ({**_TEXT, "default": "id"}, "Key of items that sorts them; an unknown one counts as id"),
    "event-identifier": ({**_TEXT, "minLength": 1}, "Identifier of the event"),
}
_NEEDED = frozenset({"event-identifier"})
_PATH_PARAMETERS = dict.fromkeys(("id", "event", "action", "key_id"), ID)
_TOKENS = ("bearer", "accessToken")
_KEYS = ("accessKey", "accessKeyOfQuery")


def build_document() -> Document:
    """Make the OpenAPI document."""
    builder = OpenApiBuilder(
        "eventhos",
        "1",
        "Any JSON is sent as an event, and contracts decide which other systems are called.",
        jsonSchemaDialect=JSON_SCHEMA_DIALECT,
    )
    _add_components(builder)
    for group, operations in OPERATIONS.items():
        builder.add_tag(group, _GROUPS[group])
        for operation in operations:
            builder.add_operation(operation.method, operation.path, {"tags": [group], **_operation(operation)})
    answers = {"200": json_response("An OpenAPI document", {"type": "object"})}
    described = {"tags": ["sending"], "summary": "Get this document", "security": [], "responses": answers}
    builder.add_operation("get", _PATH, described)
    return builder.build()


def add_document_route(api: Api) -> None:
    """Add the route of the document, for which callers need no token."""
    api.route("GET", _PATH, lambda: Response(_document(), content_type="application/json"))


@cache
def _document() -> bytes:
    return orjson.dumps(build_document())


def _add_components(builder: OpenApiBuilder) -> None:
    schemes: dict[str, Document] = {
        "bearer": {"type": "http", "scheme": "bearer", "description": "A token of /auth/login or /auth/token"},
        "accessToken": {"type": "apiKey", "in": "query", "name": "access_token"},
        "accessKey": {
            "type": "apiKey",
            "in": "header",
            "name": "access-key",
            "description": "A key or a client's token",
        },
        "accessKeyOfQuery": {"type": "apiKey", "in": "query", "name": "access-key"},
    }
    for name, scheme in schemes.items():
        builder.components.security_scheme(name, scheme)
    builder.add_schemas({**BODIES, **CONTENTS})
    builder.components.schema(
        "Error", exactly({"message": _TEXT, "code": _WHOLE, "errorUUID": {**_TEXT, "format": "uuid"}})
    )
    builder.components.header("RetryAfter", {"description": "Seconds until it may be tried again", "schema": _TEXT})
    builder.components.parameter(
        "IdempotencyKey",
        "header",
        {
            "name": "Idempotency-Key",
            "description": "The event is accepted once with the same one",
            "schema": {**_TEXT, "minLength": 1, "maxLength": 255},
        },
    )
    for status, (name, description) in _ERRORS.items():
        headers: Document = {"headers": {"Retry-After": "RetryAfter"}} if status in _RETRIED else {}
        builder.components.response(name, {**json_response(description, "Error"), **headers})


def _operation(operation: Operation) -> Document:
    found: Document = {
        "summary": operation.summary,
        "security": _security(operation),
        "responses": {
            **{str(status): _success(operation, codes) for status, codes in operation.codes.items()},
            **{str(status): _ERRORS[status][0] for status in sorted(operation.statuses)},
        },
    }
    if operation.permission is not None:
        found["description"] = f"Needs the permission `{operation.permission}`."
    parameters: list[Any] = [*path_parameters(operation.path, _PATH_PARAMETERS)]
    for name in operation.query:
        parameter = query_parameter(name, *_QUERY[name])
        parameters.append({**parameter, "required": True} if name in _NEEDED else parameter)
    if operation.path == "/event/send":
        parameters.append("IdempotencyKey")
    if parameters:
        found["parameters"] = parameters
    if operation.body is not None:
        found["requestBody"] = json_request(operation.body, required=operation.body != "AnyValue")
        if operation.body == "Grant":
            found["requestBody"]["content"]["application/x-www-form-urlencoded"] = {"schema": "Grant"}
    return found


def _security(operation: Operation) -> list[dict[str, list[str]]]:
    """Return the alternatives of credentials; of several in one, all are needed."""
    found: list[dict[str, list[str]]] = [{}]
    for names, is_needed in ((_TOKENS, operation.permission is not None), (_KEYS, operation.has_key)):
        if is_needed:
            found = [{**others, name: []} for others in found for name in names]
    return found if found != [{}] else []


def _success(operation: Operation, codes: tuple[int, ...]) -> Document:
    properties: dict[str, Document] = {"code": {"enum": list(codes)}, "message": _TEXT}
    if operation.content is not None:
        properties["content"] = {"$ref": f"#/components/schemas/{operation.content}"}
    optional = ("content",) if operation.may_lack_content else ()
    return json_response("Done", exactly(properties, *optional))
