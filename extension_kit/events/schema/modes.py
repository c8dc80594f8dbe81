"""OpenAPI 3.1 components of the event schemas, in the modes ``strict`` and ``tolerant``.

``strict`` is Steadybit's EventKit specification to the letter, except that it states the type of every object.
``tolerant`` is made from it by one rule, for the events that real agents and platforms send:

* no part of an event is required, and null stands for a missing value;
* formats and enumerations are not enforced, and lists may repeat an item;
* a list of kinds of object may be extended by other kinds;
* types are unchanged; unknown keys are accepted in both modes.

Exceptions from the rule are given with the fields in ``extension_kit.events.schema.bodies``.
"""

from copy import deepcopy
from typing import Literal

from extension_kit.events.schema.bodies import EventRequestBody
from extension_kit.events.schema.openapi import json_schema_components
from extension_kit.events.schema.validator_keywords import Keywords

Mode = Literal["tolerant", "strict"]

REFERENCE = "#/components/schemas/"
"""Prefix of references to components."""


def event_components(mode: Mode) -> dict[str, Keywords]:
    """Return the components of ``EventRequestBody`` and of the schemas nested in it, by name."""
    components = json_schema_components(EventRequestBody)
    if mode == "tolerant":
        envelope = components["EventRequestBody"]["properties"]
        components = {name: _relaxed(schema) for name, schema in components.items()}
        _require(components, [name for name, schema in envelope.items() if "x-always-required" in schema])
    return {name: _without_hints(schema) for name, schema in components.items()}


def _relaxed(schema: Keywords) -> Keywords:
    """Apply the tolerant rule to a schema and the schemas nested in it."""
    if "x-tolerant" in schema:
        return {"description": schema["description"], **deepcopy(schema["x-tolerant"])}
    relaxed: Keywords = {}
    for keyword, value in schema.items():
        match keyword, value:
            case "required" | "format" | "uniqueItems", _:
                pass
            case "type", _:
                relaxed["type"] = [value, "null"]
            case "enum", _:
                relaxed["examples"] = value
            case "anyOf", _:
                relaxed |= {"type": ["object", "null"], "anyOf": [*value, {"description": "Another kind"}]}
            case "properties", _:
                relaxed["properties"] = {name: _relaxed(inner) for name, inner in value.items()}
            case "items" | "additionalProperties", dict():
                relaxed[keyword] = _relaxed(value)
            case _:
                relaxed[keyword] = value
    return relaxed


def _require(components: dict[str, Keywords], names: list[str]) -> None:
    """Make keys of an event required and their objects not nullable."""
    body = components["EventRequestBody"]
    body |= {"type": "object", "required": names}
    for name in names:
        if reference := body["properties"][name].get("$ref"):
            components[reference.removeprefix(REFERENCE)]["type"] = "object"


def _without_hints(schema: Keywords) -> Keywords:
    """Drop the ``x-`` keywords, which only this module reads."""
    properties = {
        name: {keyword: value for keyword, value in inner.items() if not keyword.startswith("x-")}
        for name, inner in schema["properties"].items()
    }
    return {**schema, "properties": properties}
