"""OpenAPI builder: the parts that the kit's document and those of protocols have in common."""

from collections.abc import Mapping
from typing import Any

from apispec import APISpec

from extension_kit.events.schema.openapi import OPENAPI_VERSION

Document = dict[str, Any]

JSON_SCHEMA_DIALECT = "https://json-schema.org/draft/2020-12/schema"

_KEYS = ("openapi", "info", "jsonSchemaDialect", "tags", "security", "paths", "components")


class OpenApiBuilder:
    """Collects the operations and components of an OpenAPI 3.1 document.

    In an operation, a text stands for a reference to a component of that name: as a response, a parameter, a header or
    an example, and as the schema of a content.

    Args:
        title: of the API.
        version: of the API.
        description: one line about it.
        options: further keys of the document, such as ``jsonSchemaDialect``.

    Attributes:
        components: apispec's ``Components``: ``components.schema(name, schema)``, ``.response``, ``.security_scheme``
            and others add one.
    """

    def __init__(self, title: str, version: str, description: str, **options: Any) -> None:
        self._spec = APISpec(title, version, OPENAPI_VERSION, info={"description": description}, **options)
        self.components = self._spec.components

    def add_tag(self, name: str, description: str) -> None:
        """Describe a group of operations."""
        self._spec.tag({"name": name, "description": description})

    def add_schemas(self, schemas: Mapping[str, Document]) -> None:
        """Add schemas, by name, to the components."""
        for name, schema in schemas.items():
            self.components.schema(name, schema)

    def add_operation(self, method: str, path: str, operation: Document) -> None:
        """Add an operation; ``method`` is in lower case."""
        self._spec.path(path, operations={method: operation})

    def build(self) -> Document:
        """Return the document, with its keys in the order of the specification."""
        document = self._spec.to_dict()
        return {key: document[key] for key in _KEYS if key in document}


def json_content(schema: str | Document) -> Document:
    """Return the content of a JSON body; a text is the name of a component."""
    return {"application/json": {"schema": schema}}


def json_response(description: str, schema: str | Document) -> Document:
    """Return a response with a JSON body; a text is the name of a component."""
    return {"description": description, "content": json_content(schema)}


def json_request(schema: str | Document, *, required: bool = True) -> Document:
    """Return the ``requestBody`` of an operation with a JSON body; a text is the name of a component."""
    return {"required": required, "content": json_content(schema)}


def path_parameters(path: str, schemas: Mapping[str, Document]) -> list[Document]:
    """Return the parameters of a path, such as ``/jobs/{name}``; ``schemas`` are theirs by name."""
    return [
        {"name": name, "in": "path", "required": True, "schema": schema}
        for name, schema in schemas.items()
        if f"{{{name}}}" in path
    ]


def query_parameter(name: str, schema: Document, description: str) -> Document:
    """Return an optional parameter of the query."""
    return {"name": name, "in": "query", "description": description, "schema": schema}
