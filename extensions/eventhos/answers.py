"""Answers of the API: eventhos's envelope of code and message, the content, and the code of every error."""

import logging
from math import ceil
from typing import Any
from uuid import uuid4

import orjson
from flask import Response, request
from werkzeug.exceptions import HTTPException, NotFound, RequestEntityTooLarge

from extension_kit.protocol import RouteAnswer, StoreError, StoreUnavailable

from .encryption import OtherKey

logger = logging.getLogger("extension_kit.eventhos")

READ, WRITTEN = 200000, 200001
"""Codes of answers to reads and to changes."""

UNCATEGORISED = 500000

TOO_LARGE = "request entity too large"
"""Message for a body above one of the limits."""

_ABSENT: Any = object()
_JSON = "application/json; charset=utf-8"


class EventhosError(HTTPException):
    """An error with one of eventhos's codes.

    Args:
        status: the HTTP status.
        code: eventhos's code, such as 400201.
        message: its text.
        retry_after: seconds until the client may try again; None: a retry is of no use.
    """

    def __init__(self, status: int, code: int, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.code = status
        self.eventhos_code = code
        self.message = message
        self.retry_after = retry_after


def answer(content: Any = _ABSENT, *, code: int = READ, message: str = "success", status: int = 200) -> Response:
    """Make an answer; without ``content`` it has only a code and a message."""
    body = {"code": code, "message": message}
    return _json(body if content is _ABSENT else {**body, "content": content}, status)


def route_answer(code: int, message: str = "success", status: int = 200) -> RouteAnswer:
    """Make an answer without content, as grouped routes give it."""
    return RouteAnswer(status, orjson.dumps({"code": code, "message": message}), _JSON)


def written(content: Any = _ABSENT, *, code: int = WRITTEN, message: str = "success") -> Response:
    """Make the answer to a creation, a change or a deletion: status 201."""
    return answer(content, code=code, message=message, status=201)


def answer_error(error: Exception) -> Response:
    """Make the answer to any error. Its ``errorUUID`` is in the log, too."""
    if isinstance(error, EventhosError):
        return _error(error.code or 500, error.eventhos_code, error.message, error.retry_after)
    if isinstance(error, StoreError):
        retry_after = error.retry_after if isinstance(error, StoreUnavailable) else None
        return _error(503, 500204, "The database cannot be used; nothing was changed", retry_after)
    if isinstance(error, OtherKey):
        return _error(500, UNCATEGORISED, f"A value of the database cannot be read: {error}")
    if isinstance(error, NotFound):
        return _error(404, UNCATEGORISED, f"There is no path {request.path:.200}")
    if isinstance(error, HTTPException) and (error.code or 500) < 500:
        message = TOO_LARGE if isinstance(error, RequestEntityTooLarge) else error.description or error.name
        made = _error(error.code or 400, UNCATEGORISED, message)
        for name, value in error.get_headers():
            if name == "Allow":
                made.headers[name] = value
        return made
    return _error(500, UNCATEGORISED, "Internal server error; the log of the server has the reason")


def _error(status: int, code: int, message: str, retry_after: float | None = None) -> Response:
    uuid = str(uuid4())
    logger.log(logging.WARNING if status < 500 else logging.ERROR, "Answered %d %d, error %s", status, code, uuid)
    made = _json({"message": message, "code": code, "errorUUID": uuid}, status)
    if retry_after is not None:
        made.headers["Retry-After"] = f"{max(1, ceil(retry_after))}"
    return made


def _json(body: Any, status: int) -> Response:
    return Response(orjson.dumps(body, option=orjson.OPT_UTC_Z), status, content_type=_JSON)
