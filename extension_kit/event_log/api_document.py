"""The OpenAPI document of the event log's API."""

from typing import Any

from extension_kit.event_log.api_schemas import CONDITIONS, REF, SCHEMAS, SUBJECT, TEXT, Schema
from extension_kit.event_log.filters import EVENT_PARAMETERS, MAX_REFS
from extension_kit.event_log.overview_numbers import RANGES
from extension_kit.event_log.paging import DEFAULT_LIMIT, MAX_LIMIT
from extension_kit.events.schema.bodies import Error
from extension_kit.events.schema.openapi import json_schema_components
from extension_kit.web.openapi_builder import (
    JSON_SCHEMA_DIALECT,
    Document,
    OpenApiBuilder,
    json_request,
    json_response,
    path_parameters,
    query_parameter,
)

_DESCRIPTION = (
    "What came in, what became of it, and the means to mend it. Lists are newest first; times are in UTC. A GET whose "
    "`If-None-Match` names the answer's `ETag` is answered 304. Requests that change something need, from a browser "
    "with a session, its token as the header `X-CSRF-Token`."
)

_FAILURES = {
    "Bad": "A parameter or the body is not allowed, as the error says",
    "Unauthorized": "The password is missing or wrong",
    "Forbidden": "The event log is read-only, or the request comes from another site's page",
    "Failed": "The extension could not read its page; the log has the reason",
    "Missing": "There is no such thing, or retention has removed it",
    "WrongMethod": "The path does not have this method",
    "Conflict": "There is nothing to change, or another number of deliveries matches than expected, or the action has "
    "ended, as the error says",
    "TooLarge": "The body is larger than the server accepts",
    "Busy": "There were too many wrong passwords",
    "Unavailable": "The database cannot be used, or too many actions have not ended yet",
}
_HEADERS = {
    "Unauthorized": {"WWW_Authenticate": "Challenge"},
    "WrongMethod": {"Allow": "Allow"},
    "Busy": {"Retry_After": "RetryAfter"},
    "Unavailable": {"Retry_After": "RetryAfter"},
}

_LIMIT: Schema = {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT}


def build_document() -> Document:
    """Return the document."""
    builder = OpenApiBuilder(
        "event-log", "1", _DESCRIPTION, jsonSchemaDialect=JSON_SCHEMA_DIALECT, security=[{"basic": []}]
    )
    builder.add_tag("lists", "Events, deliveries, runs, receivers, actions and workers")
    builder.add_tag("actions", "Replay, discard and try now; pause and resume")
    _add_components(builder)
    _add_lists(builder)
    _add_actions(builder)
    return builder.build()


def _add_components(builder: OpenApiBuilder) -> None:
    builder.components.security_scheme(
        "basic",
        {
            "type": "http",
            "scheme": "basic",
            "description": "EXTENSION_EVENT_LOG_PASSWORD with any user name, which actions are recorded under",
        },
    )
    builder.add_schemas(SCHEMAS | json_schema_components(Error))
    for name, description in {
        "Allow": "Methods of the path",
        "Challenge": "How to authenticate",
        "ETag": "Version of the content",
        "Location": "Path of the action, which tells its progress",
        "RequestId": "Id of the request, as in the log",
        "RetryAfter": "Seconds until it may be tried again",
    }.items():
        builder.components.header(name, {"description": description, "schema": TEXT})
    builder.components.parameter(
        "IfNoneMatch",
        "header",
        {"name": "If-None-Match", "description": "ETags of known versions; 304 if one is current", "schema": TEXT},
    )
    builder.components.response("NotModified", {"description": "It has not changed", "headers": _headers(ETag="ETag")})
    for name, description in _FAILURES.items():
        headers = _headers(**_HEADERS.get(name, {}))
        builder.components.response(name, {**json_response(description, "Error"), "headers": headers})


def _add_lists(builder: OpenApiBuilder) -> None:
    refs = {"type": "string", "pattern": "^[0-9]{1,18}(,[0-9]{1,18})*$"}
    events = [_condition(name) for name in EVENT_PARAMETERS]
    deliveries = [_condition(name) for name in ("status", "listener", "error")]
    listed = query_parameter("ref", refs, f"Numbers of up to {MAX_REFS:,} deliveries")
    raw = query_parameter("raw", {"enum": ["0", "1"]}, "`1` hides no secrets, if EXTENSION_EVENT_LOG_RAW permits that")
    after = query_parameter("after", {**REF, "minimum": 0, "maximum": 10**18 - 1}, "`next` of the page before")
    span = query_parameter("range", {"enum": list(RANGES), "default": "1h"}, "Time of the rates")
    table = query_parameter("before", {**TEXT, "minLength": 1, "maxLength": 500}, "`next` of the page before")
    slug = {"type": "string", "pattern": "^[a-z0-9]+(-[a-z0-9]+)*$"}
    places = {"ref": REF, "subject": SUBJECT, "source": slug, "name": slug}
    for path, summary, schema, parameters in (
        ("/api/overview", "Get rates of attempts, deliveries that wait and dead letters", "Overview", [span]),
        ("/api/events", "List events", "Events", [*events, *_page("e")]),
        ("/api/events/{ref}", "Get an event with its body and its deliveries", "WholeEvent", [raw]),
        ("/api/deliveries", "List deliveries", "Deliveries", [listed, *deliveries, *events, *_page("d")]),
        ("/api/deliveries/{ref}", "Get a delivery with its attempts", "WholeDelivery", []),
        ("/api/runs", "List the runs of experiments, that with the newest event first", "Runs", _page("r")),
        ("/api/runs/{subject}", "Get the events of a run", "WholeRun", _page("e")),
        ("/api/receivers", "List the functions and subscriptions that get deliveries", "Receivers", [after]),
        ("/api/actions", "List the actions of people", "Actions", _page("a")),
        ("/api/actions/{ref}", "Get an action with its progress", "Action", []),
        ("/api/workers", "List the workers with their last signs of life", "Workers", []),
        ("/api/protocols/{source}/{name}", "Get the table of a page of an event protocol", "ProtocolTable", [table]),
        ("/api/openapi.json", "Get this document", {"type": "object", "required": ["openapi", "info", "paths"]}, []),
    ):
        found = {**json_response("Found", schema), "headers": _headers(ETag="ETag")}
        missing = {"404": "Missing"} if "{" in path else {}
        failed = {"500": "Failed"} if schema == "ProtocolTable" else {}
        responses = {"200": found, "304": "NotModified", **missing, **failed}
        given = [*path_parameters(path, places), *parameters, "IfNoneMatch"]
        builder.add_operation("get", path, _operation("lists", summary, responses, given))


def _add_actions(builder: OpenApiBuilder) -> None:
    begun = {
        **json_response("The action is begun, in the background", "Action"),
        "headers": _headers(Location="Location"),
    }
    ending = {**begun, "description": "The action ends after the deliveries that it is changing"}
    done = {**json_response("It is so now", "ReceiverState"), "headers": _headers()}
    for path, summary, response, schema in (
        ("/api/deliveries/replay", "Replay dead letters", {"202": begun}, "ActionRequest"),
        (
            "/api/deliveries/discard",
            "Discard dead letters or waiting deliveries, which cannot be replayed afterwards",
            {"202": begun},
            "ActionRequest",
        ),
        (
            "/api/deliveries/retry-now",
            "Attempt waiting deliveries now, of which fewer than expected may be left",
            {"202": begun},
            "ActionRequest",
        ),
        (
            "/api/actions/{ref}/cancel",
            "Cancel an action that goes on: its changes stay, and its row names the person",
            {"202": ending, "404": "Missing"},
            "",
        ),
        ("/api/receivers/pause", "Pause a receiver: its deliveries wait", {"200": done}, "ReceiverRequest"),
        ("/api/receivers/resume", "Resume a receiver", {"200": done}, "ReceiverRequest"),
    ):
        responses = {**response, "403": "Forbidden", "409": "Conflict", "413": "TooLarge"}
        operation = _operation("actions", summary, responses, path_parameters(path, {"ref": REF}))
        body = {"requestBody": json_request(schema)} if schema else {}
        builder.add_operation("post", path, {**operation, **body})


def _condition(name: str) -> Document:
    schema = dict(CONDITIONS[name])
    return query_parameter(name, schema, schema.pop("description"))


def _page(kind: str) -> list[Document]:
    """Return the parameters of a list with pages; its cursors begin with ``kind``."""
    place = {"type": "string", "pattern": f"^{kind}[0-9a-f]{{1,15}}$"}
    return [
        query_parameter("before", place, "`next` of the page before"),
        query_parameter("limit", dict(_LIMIT), "Maximum number of rows"),
    ]


def _headers(**more: str) -> Document:
    return {"Request-Id": "RequestId", **{name.replace("_", "-"): header for name, header in more.items()}}


def _operation(tag: str, summary: str, responses: Document, parameters: list[Any]) -> Document:
    always = {"400": "Bad", "401": "Unauthorized", "405": "WrongMethod", "429": "Busy", "503": "Unavailable"}
    operation: Document = {
        "tags": [tag],
        "summary": summary,
        "responses": dict(sorted({**responses, **always}.items())),
    }
    return {**operation, "parameters": parameters} if parameters else operation
