"""The OpenAPI document of Pulp's API: event listeners, their deliveries, and notifications of Pulp servers."""

from collections.abc import Sequence
from typing import Any

from extension_kit.protocol import (
    JSON_SCHEMA_DIALECT,
    OpenApiBuilder,
    json_request,
    json_response,
    path_parameters,
    query_parameter,
)

from .answers import BASE
from .event_types import ANY, PULP_TYPES
from .listeners import MOST_TYPES
from .notifiers import NOTIFIERS

Document = dict[str, Any]

_EVENTS = "/v2/events/"
_TEXT: Document = {"type": "string"}
_TEXT_OR_NULL: Document = {"type": ["string", "null"]}
_OBJECT: Document = {"type": "object"}
_OBJECT_OR_NULL: Document = {"type": ["object", "null"]}
_NULL: Document = {"type": "null"}
_WHOLE: Document = {"type": "integer"}
_TIME: Document = {"type": ["string", "null"], "format": "date-time"}
_ID: Document = {"type": "string", "pattern": "^[0-9a-f]{24}$"}
_STATUS: Document = {"enum": ["waiting", "delivered", "dead", "discarded"]}
_NOTIFIER: Document = {"enum": list(NOTIFIERS)}
_CONFIG = (
    "`http`: `url`, `username`, `password`, `ca_path`; `email`: `subject`, `addresses`; `amqp`: `exchange`. What is "
    "missing or wrong fails when an event is delivered, not here"
)

_USER: list[dict[str, list[str]]] = [{"basic": []}]
_USER_OR_TOKEN: list[dict[str, list[str]]] = [{"token": []}, *_USER]

_FAILURES = {
    "Invalid": "The body is not JSON or not an object (PLP1009, PLP1015), or a value is invalid (PLP0015)",
    "Unauthorized": "The credentials are missing or wrong, or do not permit it (PLP0025, PLP0026, PLP0027, PLP0030)",
    "Missing": "There is no such listener (PLP0009)",
    "TooLarge": "The body is larger than the server accepts",
    "Busy": "There were too many wrong passwords, or too many are checked at once",
    "Unavailable": "The database cannot be used; nothing was changed",
}
_RETRIED = ("Busy", "Unavailable")


def build_document(types: Sequence[str] = PULP_TYPES, *, require_config: bool = False) -> Document:
    """Return the OpenAPI document.

    Args:
        types: the event types of the server.
        require_config: whether a new listener needs ``notifier_config``.
    """
    builder = OpenApiBuilder(
        "pulp",
        "1",
        "Pulp 2's event listeners. A slash at the end of a path may be left out, and the Content-Type of a request is "
        "not looked at.",
        jsonSchemaDialect=JSON_SCHEMA_DIALECT,
    )
    _add_components(builder, types, require_config)
    for prefix in (BASE, ""):
        _add_listeners(builder, f"{prefix}{_EVENTS}")
    builder.add_operation("post", "/pulp/notifications/", _notification())
    described = {"200": json_response("An OpenAPI document", _OBJECT), "405": "WrongMethod"}
    openapi = {"tags": ["listeners"], "summary": "Get this document", "security": [], "responses": described}
    builder.add_operation("get", f"{BASE}/openapi.json", openapi)
    return builder.build()


def _add_components(builder: OpenApiBuilder, types: Sequence[str], require_config: bool) -> None:
    builder.add_tag("listeners", "Event listeners and their deliveries")
    builder.add_tag("notifications", "Events of Pulp servers")
    builder.components.security_scheme(
        "basic",
        {
            "type": "http",
            "scheme": "basic",
            "description": "A user; a client certificate does as well. Without users in the settings, requests from "
            "the server's machine are served without",
        },
    )
    builder.components.security_scheme(
        "token",
        {
            "type": "apiKey",
            "in": "query",
            "name": "token",
            "description": "EXTENSION_PULP_TOKEN; also as the password of Basic, with any name",
        },
    )
    builder.add_schemas(_schemas(types, require_config))
    for name, header in {
        "Allow": {"description": "The methods of the path"},
        "ETag": {"description": "Version of the content"},
        "Location": {"description": "Path of the listener, as in `_href`"},
        "RetryAfter": {"description": "Seconds until it may be tried again"},
    }.items():
        builder.components.header(name, {**header, "schema": _TEXT})
    builder.components.parameter(
        "IfNoneMatch",
        "header",
        {"name": "If-None-Match", "description": "ETags of known versions; 304 if one is current", "schema": _TEXT},
    )
    builder.components.response("NotModified", {"description": "It has not changed", "headers": {"ETag": "ETag"}})
    builder.components.response(
        "WrongMethod", {"description": "The path does not have this method; no body", "headers": {"Allow": "Allow"}}
    )
    for name, description in _FAILURES.items():
        headers: Document = {"headers": {"Retry-After": "RetryAfter"}} if name in _RETRIED else {}
        builder.components.response(name, {**json_response(description, "Error"), **headers})


def _schemas(types: Sequence[str], require_config: bool) -> dict[str, Document]:
    event_types = {
        "type": "array",
        "minItems": 1,
        "maxItems": MOST_TYPES,
        "items": {"enum": [*types, ANY]},
        "description": "Types of events, `*` for all",
    }
    config = _OBJECT if require_config else _OBJECT_OR_NULL
    error = {"code": _TEXT, "data": _OBJECT, "description": _TEXT, "sub_errors": {"type": "array", "maxItems": 0}}
    return {
        "Listener": _exactly(
            {
                "_href": {"type": "string", "pattern": f"^{BASE}{_EVENTS}[0-9a-f]{{24}}/$"},
                "_id": _exactly({"$oid": _ID}),
                "_ns": {"const": "event_listeners"},
                "event_types": event_types,
                "id": _ID,
                "notifier_config": {**_OBJECT, "description": _CONFIG},
                "notifier_type_id": _NOTIFIER,
            }
        ),
        "NewListener": {
            "type": "object",
            "required": ["event_types", "notifier_type_id", *(["notifier_config"] if require_config else [])],
            "properties": {
                "notifier_type_id": _NOTIFIER,
                "notifier_config": {**config, "description": _CONFIG},
                "event_types": event_types,
            },
        },
        "ListenerChange": {
            "type": "object",
            "properties": {
                "notifier_config": {
                    **_OBJECT_OR_NULL,
                    "description": "Keys to set; null removes a key, and other keys stay as they are",
                },
                "event_types": {**event_types, "type": ["array", "null"]},
            },
        },
        "Delivery": _exactly(
            {
                "delivery": _WHOLE,
                "event_id": _TEXT,
                "event_type": _TEXT,
                "status": _STATUS,
                "attempts": _WHOLE,
                "error": _TEXT_OR_NULL,
                "answer": {"type": ["integer", "null"], "description": "HTTP status of the last answer"},
                "excerpt": {**_TEXT_OR_NULL, "description": "The beginning of its body"},
                "created": _TIME,
                "due": _TIME,
                "ended": _TIME,
            }
        ),
        "Notification": {
            "type": "object",
            "required": ["event_type", "payload"],
            "properties": {
                "event_type": {"enum": list(PULP_TYPES)},
                "payload": {"description": "`repo_id` and, of a finished sync or publish, its result"},
                "call_report": {**_OBJECT_OR_NULL, "description": "The task; its `task_id` identifies the event"},
            },
        },
        "Error": {
            **_needing(
                {
                    "http_request_method": _TEXT,
                    "exception": _NULL,
                    "error_message": _TEXT,
                    "_href": _TEXT,
                    "http_status": _WHOLE,
                    "error": _exactly(error),
                    "traceback": _NULL,
                }
            ),
            "description": "The document of an error; some have further keys, such as `property_names`",
        },
    }


def _add_listeners(builder: OpenApiBuilder, path: str) -> None:
    """Add the operations of listeners; ``path`` is that of their list."""
    one, deliveries = f"{path}{{id}}/", f"{path}{{id}}/deliveries/"
    known, with_body = {"404": "Missing"}, {"400": "Invalid", "413": "TooLarge"}
    cached = {"304": "NotModified"}
    builder.add_operation(
        "get",
        path,
        _operation("List the listeners", {"200": _with_etag(_list_of("Listener")), **cached}, ["IfNoneMatch"]),
    )
    created = {**json_response("The new listener", "Listener"), "headers": {"Location": "Location"}}
    upsert = query_parameter(
        "upsert", {"enum": ["true", "false"]}, "`true` changes the listener with the same recipients, if there is one"
    )
    builder.add_operation(
        "post",
        path,
        _operation("Create a listener", {"201": created, **with_body}, [upsert], json_request("NewListener")),
    )
    ids = path_parameters(one, {"id": _ID})
    builder.add_operation(
        "get",
        one,
        _operation("Get a listener", {"200": _with_etag("Listener"), **cached, **known}, [*ids, "IfNoneMatch"]),
    )
    changed = {"200": json_response("The listener", "Listener"), **with_body, **known}
    body = json_request("ListenerChange", required=False)
    builder.add_operation("put", one, _operation("Change a listener", changed, ids, body))
    removed = {"200": json_response("It is removed", _NULL), **known}
    builder.add_operation("delete", one, _operation("Remove a listener", removed, ids))
    number = {"type": "integer", "minimum": 1}
    query = [
        query_parameter("status", _STATUS, "Deliveries of this status only"),
        query_parameter("before", {**number, "maximum": 2**63 - 1}, "Deliveries before this one: the next page"),
        query_parameter("limit", {**number, "maximum": 1000, "default": 100}, "Maximum number of deliveries"),
    ]
    found = {"200": json_response("Deliveries, newest first", _list_of("Delivery")), "400": "Invalid", **known}
    builder.add_operation("get", deliveries, _operation("List the deliveries of a listener", found, [*ids, *query]))


def _notification() -> Document:
    answer = _exactly({"id": _TEXT, "is_new": {"type": "boolean", "description": "False: it was received before"}})
    responses = {"200": json_response("The event is stored", answer), "400": "Invalid", "413": "TooLarge"}
    operation = _operation("Publish the event of a notification", responses, [], json_request("Notification"))
    return {**operation, "tags": ["notifications"], "security": _USER_OR_TOKEN}


def _operation(summary: str, responses: Document, parameters: list[Any], body: Document | None = None) -> Document:
    always = {"401": "Unauthorized", "405": "WrongMethod", "429": "Busy", "503": "Unavailable"}
    operation: Document = {
        "tags": ["listeners"],
        "summary": summary,
        "security": _USER,
        "responses": dict(sorted({**responses, **always}.items())),
    }
    if parameters:
        operation["parameters"] = parameters
    if body is not None:
        operation["requestBody"] = body
    return operation


def _with_etag(schema: str | Document) -> Document:
    return {**json_response("Found", schema), "headers": {"ETag": "ETag"}}


def _list_of(name: str) -> Document:
    return {"type": "array", "items": {"$ref": f"#/components/schemas/{name}"}}


def _needing(properties: dict[str, Document]) -> Document:
    return {"type": "object", "required": list(properties), "properties": properties}


def _exactly(properties: dict[str, Document]) -> Document:
    return {**_needing(properties), "additionalProperties": False}
