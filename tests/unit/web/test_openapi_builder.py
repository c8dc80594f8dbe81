"""A document made with the builder is valid, has its keys in order, and references by the names of components."""

import jsonschema_rs
from schemathesis.specs.openapi.definitions import OPENAPI_31

from extension_kit.web.openapi_builder import (
    JSON_SCHEMA_DIALECT,
    OpenApiBuilder,
    json_request,
    json_response,
    path_parameters,
    query_parameter,
)

DOOR = {"type": "object", "properties": {"name": {"type": "string"}}}


def ring(path):
    return {
        "tags": ["doors"],
        "summary": "Ring",
        "parameters": [
            *path_parameters(path, {"house": {"type": "string"}, "door": {"type": "string"}}),
            query_parameter("times", {"type": "integer"}, "How often"),
        ],
        "requestBody": json_request("Door", required=False),
        "responses": {"200": json_response("It has rung", {"type": "null"}), "404": "NoDoor"},
    }


def build(**options):
    builder = OpenApiBuilder("Doors", "1", "All doors.", **options)
    path = "/doors/{door}"
    builder.add_operation("post", path, ring(path))
    builder.add_operation("get", path, {"responses": {"200": json_response("A door", "Door")}})
    builder.add_schemas({"Door": DOOR})
    builder.components.response("NoDoor", json_response("There is no such door", "Door"))
    builder.add_tag("doors", "What one rings at")
    return builder.build()


def test_it_is_valid_and_in_order():
    document = build(jsonSchemaDialect=JSON_SCHEMA_DIALECT, security=[])
    assert list(jsonschema_rs.iter_errors(OPENAPI_31, document)) == []
    assert list(document) == ["openapi", "info", "jsonSchemaDialect", "tags", "security", "paths", "components"]
    assert list(build()) == ["openapi", "info", "tags", "paths", "components"]
    assert document["info"] == {"title": "Doors", "version": "1", "description": "All doors."}
    assert document["tags"] == [{"name": "doors", "description": "What one rings at"}]


def test_names_of_components_become_references():
    operation = build()["paths"]["/doors/{door}"]["post"]
    reference = {"application/json": {"schema": {"$ref": "#/components/schemas/Door"}}}
    assert operation["requestBody"] == {"required": False, "content": reference}
    assert operation["responses"]["404"] == {"$ref": "#/components/responses/NoDoor"}
    assert build()["components"]["responses"]["NoDoor"]["content"] == reference


def test_the_operations_of_a_path_are_together():
    assert list(build()["paths"]["/doors/{door}"]) == ["post", "get"]


def test_parameters_are_those_of_the_path():
    parameters = build()["paths"]["/doors/{door}"]["post"]["parameters"]
    assert parameters == [
        {"name": "door", "in": "path", "required": True, "schema": {"type": "string"}},
        {"name": "times", "in": "query", "description": "How often", "schema": {"type": "integer"}},
    ]
