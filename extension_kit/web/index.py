"""Views of ``GET /``, the registration document that agents poll by its ETag, and of ``GET /openapi.json``."""

from typing import Any

import orjson
from flask import Blueprint, Response, request

from extension_kit.events.registration_document import list_event_listeners, serialize
from extension_kit.runtime.service import Service
from extension_kit.web.openapi import build_document


def index_blueprint(service: Service) -> Blueprint:
    """Make a blueprint with the registration document and the OpenAPI document of a service."""
    index = Blueprint("index", __name__)

    @index.get("/", provide_automatic_options=False)
    def registration_document() -> Response:
        body, etag = serialize(service.registry)
        response = Response(body, content_type="application/json", headers={"ETag": etag})
        if _is_known(etag, request.headers.get("If-None-Match", "")):
            response.status_code = 304
            response.set_data(b"")
        return response

    @index.get("/openapi.json", provide_automatic_options=False)
    def served_openapi_document() -> Response:
        return Response(orjson.dumps(openapi_document(service)), content_type="application/json")

    return index


def openapi_document(service: Service) -> dict[str, Any]:
    """Return the OpenAPI document of a service, with its real paths and the enforced schemas."""
    return build_document(
        title=service.name,
        version=service.version,
        listeners=list_event_listeners(service.registry),
        mode=service.settings.validation,
        basic_auth=service.credentials is not None,
    )


def _is_known(etag: str, if_none_match: str) -> bool:
    """Return True if ``If-None-Match`` holds the ETag. Some clients send it without its quotes."""
    if if_none_match.strip() == "*":
        return True
    tags = (tag.strip().removeprefix("W/").strip('"') for tag in if_none_match.split(","))
    return etag.strip('"') in tags
