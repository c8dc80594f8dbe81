"""Answers of the API, to CronEye's letter: keys, their order, and texts.

As in upstream, browsers may read them from any origin: requests carry a token, never a cookie.
"""

from math import ceil
from typing import Any

import orjson
from flask import Response, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from extension_kit.protocol import RouteAnswer, StoreUnavailable

_JSON = "application/json"
_BAD_REQUEST = "Bad request"

_REASONS = {
    400: _BAD_REQUEST,
    404: "Not found",
    405: "Method not allowed",
    413: "Request entity too large",
    500: "Internal server error",
}


class Refusal(HTTPException):
    """An error answer.

    Args:
        status: the HTTP status.
        message: CronEye's text.
        retry_after: seconds until the client may try again; None: a retry is of no use.
        content: further keys of the answer.
    """

    def __init__(self, status: int, message: str, *, retry_after: float | None = None, **content: Any) -> None:
        super().__init__(message)
        self.code = status
        self.message = message
        self.retry_after = retry_after
        self.content = content


def success(message: str = "", **content: Any) -> Response:
    """Make the answer of a success."""
    return _answer(200, _success(message, **content))


def route_success(origin: str | None) -> RouteAnswer:
    """Make the answer to an event that was accepted, as grouped routes give it.

    Args:
        origin: the header ``Origin`` of the request.
    """
    return RouteAnswer(200, _ACCEPTED, _JSON, _sharing(origin) if origin else ())


def bad_request() -> Refusal:
    """Return the error for a malformed request or an impossible value."""
    return Refusal(400, _BAD_REQUEST, data={})


def answer_error(error: Exception) -> Response:
    """Make the answer to any error, in CronEye's form. Its documentation knows 400, 401 and 500 only."""
    if isinstance(error, Refusal):
        refused = failure(error.code or 500, error.message, **error.content)
        if error.retry_after is not None:
            refused.headers["Retry-After"] = f"{ceil(error.retry_after)}"
        return refused
    code = (error.code or 500) if isinstance(error, HTTPException) else 500
    status = code if code in _REASONS else 400 if code < 500 else 500
    answer = failure(status, _REASONS[status], data={})
    if isinstance(error, MethodNotAllowed):
        methods = ", ".join(sorted(error.valid_methods or ()))
        if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
            return _preflight(methods)
        answer.headers["Allow"] = methods
    if isinstance(error, StoreUnavailable):
        answer.headers["Retry-After"] = f"{max(1, round(error.retry_after))}"
    return answer


def failure(status: int, message: str, **content: Any) -> Response:
    """Make the answer of a failure."""
    return _answer(status, {"status": "failure", "message": message, **content})


def _success(message: str, **content: Any) -> dict[str, Any]:
    return {"status": "success", "message": message, **content}


def _answer(status: int, content: dict[str, Any]) -> Response:
    return _shared(Response(_encoded(content), status, content_type=_JSON))


def _encoded(content: dict[str, Any]) -> bytes:
    return orjson.dumps(content) + b"\n"


def _preflight(methods: str) -> Response:
    answer = _shared(Response(status=200))
    answer.headers["Access-Control-Allow-Methods"] = methods
    answer.headers["Access-Control-Allow-Headers"] = request.headers.get("Access-Control-Request-Headers", "")
    return answer


def _shared(response: Response) -> Response:
    if origin := request.headers.get("Origin"):
        response.headers.extend(_sharing(origin))
    return response


def _sharing(origin: str) -> tuple[tuple[str, str], ...]:
    """Return the headers with which browsers let pages of an origin read an answer."""
    return (
        ("Access-Control-Allow-Origin", origin),
        ("Access-Control-Allow-Credentials", "true"),
        ("Vary", "Origin"),
    )


_ACCEPTED = _encoded(_success("", data={}))
