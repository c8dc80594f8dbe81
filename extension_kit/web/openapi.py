"""The OpenAPI document of an extension, as served at ``/openapi.json`` and committed in ``openapi/``."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any

import yaml

from extension_kit.events.schema.bodies import Error, EventListenerList, InvalidEventError
from extension_kit.events.schema.modes import Mode, event_components
from extension_kit.events.schema.openapi import json_schema_components
from extension_kit.web.openapi_builder import (
    JSON_SCHEMA_DIALECT,
    Document,
    OpenApiBuilder,
    json_content,
)

_DOCUMENTED_EVENT: Document = {
    "id": "da059724-a8ae-4b4b-b4f0-ee01898232d2",
    "eventName": "experiment.execution.created",
    "eventTime": "2021-09-01T12:00:00Z",
    "tenant": {"key": "exmpl", "name": "Example Inc."},
    "principal": {
        "principalType": "user",
        "username": "tom.mason",
        "name": "Tom Mason",
        "email": "tom.mason@example.com",
    },
    "environment": {"id": "STG", "name": "Staging"},
    "team": {"key": "ADM", "name": "Administrators"},
    "experimentExecution": {
        "experimentKey": "ADM-4",
        "executionId": 34,
        "name": "Rollout restart does not impact service availability",
        "state": "COMPLETED",
        "preparedTime": "2022-11-08T16:42:32.303762Z",
        "startedTime": "2022-11-08T16:42:32.329718Z",
        "endedTime": "2022-11-08T16:42:42.636157Z",
    },
}
"""The example of the Event API's documentation, which lacks keys that the specification requires."""

_COMPLETE_EVENT: Document = {
    **_DOCUMENTED_EVENT,
    "team": {"id": "ADM", **_DOCUMENTED_EVENT["team"]},
    "experimentExecution": {
        **_DOCUMENTED_EVENT["experimentExecution"],
        "hypothesis": "All requests are answered while the pods are restarted one by one.",
        "state": "created",
    },
}

_EXAMPLES: dict[Mode, Document] = {
    "tolerant": {"summary": "The example of the Event API's documentation", "value": _DOCUMENTED_EVENT},
    "strict": {"summary": "A complete event", "value": _COMPLETE_EVENT},
}

_STRICTNESS: dict[Mode, str] = {
    "tolerant": "Events are validated as tolerantly as real agents need it: only indispensable keys are required, "
    "and null stands for a missing value. The Content-Type of an event is ignored.",
    "strict": "Events are validated to the letter of Steadybit's EventKit specification, formats included.",
}

_HEADERS: Document = {
    "RequestId": {"description": "Id of the request, as in the extension's log", "required": True},
    "ETag": {"description": "Version of the registration document", "required": True},
    "Challenge": {"description": "How to authenticate", "required": True},
    "Duplicate": {
        "description": "`true`: this process has received the event at this path before, so no listener runs"
    },
    "RetryAfter": {"description": "Seconds to wait before sending the event again"},
}

_PARAMETERS: Document = {
    "RequestId": {
        "name": "Request-Id",
        "description": "Id to return in the answer; by default a new one",
    },
    "IfNoneMatch": {"name": "If-None-Match", "description": "ETags of known versions; 304 if the current one is known"},
    "RequestTimeout": {
        "name": "Request-Timeout",
        "description": "Seconds, as a decimal number, after which the sender stops waiting; anything else is ignored",
    },
    "XRequestTimeout": {"name": "X-Request-Timeout", "description": "Used if there is no Request-Timeout"},
}


def _response(description: str, content: Document | None = None, **headers: str) -> Document:
    """Make a response object; strings are names of components."""
    response: Document = {"description": description, "headers": {"Request-Id": "RequestId", **headers}}
    return {**response, "content": content} if content else response


_RESPONSES: Document = {
    "NotAnEvent": _response("The body is empty, no JSON, or no JSON object", json_content("Error")),
    "Unauthorized": _response(
        "The credentials are missing or wrong", json_content("Error"), **{"WWW-Authenticate": "Challenge"}
    ),
    "TooLarge": _response("The body is larger than the extension accepts", json_content("Error")),
    "NotJson": _response("The Content-Type is not application/json", json_content("Error")),
    "InvalidEvent": _response("The event does not match the schema", json_content("InvalidEventError")),
    "Failed": _response("A function of the extension raised an error", json_content("Error")),
    "Unavailable": _response(
        "The timeout of the sender has passed, or too many events are waiting",
        {"text/plain": {"schema": {"const": "Timeout"}}, **json_content("Error")},
        **{"Retry-After": "RetryAfter"},
    ),
}


def build_document(
    *, title: str, version: str, listeners: Sequence[Mapping[str, Any]], mode: Mode, basic_auth: bool = False
) -> Document:
    """Make the OpenAPI document of an extension.

    Args:
        title: the extension's name.
        version: the extension's version.
        listeners: the list ``eventListeners`` of the registration document.
        mode: the strictness of validation; the document holds the enforced schemas.
        basic_auth: True if requests must carry a user name and a password.
    """
    secured: Document = {"security": [{"basic": []}]} if basic_auth else {}
    builder = OpenApiBuilder(title, version, _STRICTNESS[mode], jsonSchemaDialect=JSON_SCHEMA_DIALECT, **secured)
    _add_components(builder, mode)
    if basic_auth:
        builder.components.security_scheme("basic", {"type": "http", "scheme": "basic"})
    builder.add_tag("registration", "Documents that agents request")
    builder.add_tag("events", "Events that agents send")
    guard = {"401": "Unauthorized"} if basic_auth else {}
    builder.add_operation("get", "/", _registration_document(guard))
    builder.add_operation("get", "/openapi.json", _openapi_document(guard))
    for listener in listeners:
        builder.add_operation(listener["method"].lower(), listener["path"], _event_listener(listener, mode, guard))
    document = builder.build()
    _drop_unused(document)
    return document


def to_yaml(document: Document) -> str:
    """Return a document as YAML, in its own key order and without anchors."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


class _Dumper(yaml.SafeDumper):
    """YAML dumper that writes lists of strings in one line."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_list(self, data: Iterable[Any]) -> yaml.SequenceNode:
        items = list(data)
        in_line = all(isinstance(item, str) for item in items)
        return self.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=in_line)


_Dumper.add_representer(list, _Dumper.represent_list)


def _add_components(builder: OpenApiBuilder, mode: Mode) -> None:
    builder.add_schemas(event_components(mode) | json_schema_components(EventListenerList, Error, InvalidEventError))
    for name, header in _HEADERS.items():
        builder.components.header(name, {**header, "schema": {"type": "string"}})
    for name, parameter in _PARAMETERS.items():
        builder.components.parameter(name, "header", {**parameter, "schema": {"type": "string"}})
    for name, response in _RESPONSES.items():
        builder.components.response(name, response)
    builder.components.example("Event", deepcopy(_EXAMPLES[mode]))


def _registration_document(guard: Document) -> Document:
    return {
        "tags": ["registration"],
        "summary": "Get the registration document: the event listeners and further offers of the extension",
        "parameters": ["IfNoneMatch", "RequestId"],
        "responses": {
            "200": _response("The registration document", json_content("EventListenerList"), ETag="ETag"),
            "304": _response("It has not changed", ETag="ETag"),
            **guard,
            "500": "Failed",
        },
    }


def _openapi_document(guard: Document) -> Document:
    document = {"type": "object", "required": ["openapi", "info", "paths"]}
    return {
        "tags": ["registration"],
        "summary": "Get this document",
        "parameters": ["RequestId"],
        "responses": {"200": _response("An OpenAPI document", json_content(document)), **guard},
    }


def _event_listener(listener: Mapping[str, Any], mode: Mode, guard: Document) -> Document:
    names = listener["listenTo"]
    wanted = "every event" if "*" in names else ", ".join(f"`{name}`" for name in names)
    responses = {
        "200": _response(
            "The event is accepted",
            json_content({"type": "object", "maxProperties": 0}),
            **{"Extension-Duplicate": "Duplicate"},
        ),
        "400": "NotAnEvent",
        **guard,
        "413": "TooLarge",
        **({"415": "NotJson"} if mode == "strict" else {}),
        "422": "InvalidEvent",
        "500": "Failed",
        "503": "Unavailable",
    }
    return {
        "tags": ["events"],
        "summary": "Receive an event",
        "description": f"Wants {wanted}. Restricted to: `{listener['restrictTo']}`. Other events are accepted and "
        "ignored, and so are duplicates: events with an id received at this path before.",
        "parameters": ["RequestTimeout", "XRequestTimeout", "RequestId"],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": "EventRequestBody", "examples": {"event": "Event"}}},
        },
        "responses": responses,
    }


def _drop_unused(document: Document) -> None:
    """Remove components without a reference to them."""
    sections = document["components"]
    used: set[str] = set()
    waiting = [document["paths"]]
    while waiting:
        for reference in _references(waiting.pop()):
            if reference not in used:
                used.add(reference)
                _, _, section, name = reference.split("/")
                waiting.append(sections[section][name])
    for section, components in sections.items():
        if section != "securitySchemes":
            sections[section] = {
                name: component for name, component in components.items() if f"#/components/{section}/{name}" in used
            }
    document["components"] = {section: components for section, components in sections.items() if components}


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from _references(inner)
