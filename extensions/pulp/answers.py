"""Answers of the API, to Pulp's letter: JSON as Python's ``json`` writes it, and the document of an error.

Pulp's bindings take the body of an error apart as a JSON object (Pulp 2, exception handling).
"""

import json
from collections.abc import Mapping
from math import ceil
from typing import Any

from flask import Response, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound, RequestEntityTooLarge

from extension_kit.protocol import RouteAnswer, StoreError, StoreUnavailable

BASE = "/pulp/api"
"""Path under which a real server mounts its API. Paths in answers begin with it."""

_CONTENT_TYPE = "application/json; charset=utf-8"


class PulpError(HTTPException):
    """An error with one of Pulp's codes.

    Args:
        status: the HTTP status.
        code: Pulp's code, such as ``PLP0009``.
        description: Pulp's text.
        data: the data of the error.
        extra: further keys of the document.
        retry_after: seconds until the client may try again; None: a retry is of no use.
    """

    def __init__(
        self,
        status: int,
        code: str,
        description: str,
        data: Mapping[str, Any] | None = None,
        *,
        retry_after: float | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(description)
        self.code = status
        self.pulp_code = code
        self.data = dict(data or {})
        self.extra = extra
        self.retry_after = retry_after


def invalid(*names: str) -> PulpError:
    """Return the error for properties with invalid values (PLP0015)."""
    listed = f"[{', '.join(repr(name) for name in names)}]"
    data = {"property_names": list(names), "properties": listed}
    return PulpError(400, "PLP0015", f"Invalid properties: {listed}", data, property_names=list(names))


def not_json() -> PulpError:
    """Return the error for a body that is not JSON (PLP1009)."""
    return PulpError(400, "PLP1009", "The request body does not contain valid JSON", args=[])


def not_an_object() -> PulpError:
    """Return the error for a body that is JSON, but not an object (PLP1015)."""
    return PulpError(400, "PLP1015", "The JSON data must be of type 'dict'.", {"data_type": "dict"}, args=[])


def missing(id: str) -> PulpError:
    """Return the error for a listener that does not exist (PLP0009)."""
    resources = {"event_listener": id}
    description = f"Missing resource(s): event_listener={id}"
    return PulpError(404, "PLP0009", description, {"resources": resources}, resources=resources)


def answer(content: Any, status: int = 200) -> Response:
    """Make an answer. Its text is that of Python's ``json.dumps``."""
    return Response(json.dumps(content), status, content_type=_CONTENT_TYPE)


def route_answer(content: Any) -> RouteAnswer:
    """Make the answer to a request that succeeded, as grouped routes give it."""
    return RouteAnswer(200, json.dumps(content).encode(), _CONTENT_TYPE)


def answer_error(error: Exception) -> Response:
    """Make the answer to any error: a PLP document, ``null`` for an unknown path, an empty one for a wrong method."""
    if isinstance(error, PulpError):
        return _answer_of_pulp(error)
    if isinstance(error, MethodNotAllowed):
        return _answer_to_method(error)
    if isinstance(error, NotFound):
        return answer(None, 404)
    if isinstance(error, RequestEntityTooLarge):
        return _document(413, "PLP0000", "The request body is too large", {})
    if isinstance(error, StoreError):
        unavailable = _document(503, "PLP0000", "The database cannot be used; nothing was changed", {})
        if isinstance(error, StoreUnavailable):
            unavailable.headers["Retry-After"] = f"{max(1, ceil(error.retry_after))}"
        return unavailable
    if isinstance(error, HTTPException) and (error.code or 500) < 500:
        return _document(error.code or 400, "PLP0000", error.description or error.name, {})
    return _document(500, "PLP0000", "Internal server error; the log of the server has the reason", {})


def _answer_of_pulp(error: PulpError) -> Response:
    made = _document(error.code or 500, error.pulp_code, error.description or "", error.data, **error.extra)
    if error.retry_after is not None:
        made.headers["Retry-After"] = f"{max(1, ceil(error.retry_after))}"
    return made


def _document(status: int, code: str, description: str, data: dict[str, Any], **extra: Any) -> Response:
    document = {
        "http_request_method": request.method,
        "exception": None,
        "error_message": description,
        "_href": href(request.path),
        "http_status": status,
        "error": {"code": code, "data": data, "description": description, "sub_errors": []},
        "traceback": None,
        **extra,
    }
    return answer(document, status)


def _answer_to_method(error: MethodNotAllowed) -> Response:
    """Answer a wrong method as Django does: without a body, the allowed methods in its order."""
    order = ("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS")
    allowed = [method for method in order if method in (error.valid_methods or ())]
    return Response(status=405, content_type="text/html; charset=utf-8", headers={"Allow": ", ".join(allowed)})


def href(path: str) -> str:
    """Return a path as a real server names it: under ``/pulp/api``. Other paths under ``/pulp`` stay as they are."""
    return path if path.startswith("/pulp/") else BASE + path
