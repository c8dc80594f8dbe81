"""The JSON envelope of every answer (Tapis Notifications, live docs: RespBasic and others)."""

from importlib.metadata import version
from typing import Any

import orjson
from flask import Response
from werkzeug.exceptions import HTTPException

from extension_kit.protocol import RouteAnswer, StoreError

from .tokens import Caller, UnauthorizedError

_VERSION = version("extension-kit")

# tapipy decodes an answer as JSON only if its type is exactly this, without a charset.
_JSON = "application/json"


class ApiError(Exception):
    """An error answer.

    Args:
        status: the HTTP status.
        key: identifies the error to clients, such as ``NTFAPI_NOT_FOUND``.
        text: explains the error to people.
        result: JSON data, for the few errors that have a result.
    """

    def __init__(self, status: int, key: str, text: str, result: dict[str, Any] | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.key = key
        self.text = text
        self.result = result


def bad_request(text: str, key: str = "NTFAPI_INVALID") -> ApiError:
    """Return the error for invalid input."""
    return ApiError(400, key, text)


def success(
    key: str, text: str, caller: Caller | None, result: Any = None, *, metadata: Any = None, status: int = 200
) -> Response:
    """Make the answer to a request that succeeded.

    Args:
        key: identifies the message to clients, such as ``NTFAPI_EVENT_POSTED``.
        text: tells people the outcome.
        caller: the caller; None for operations that need no token.
        result: JSON data.
        metadata: of lists.
        status: the HTTP status.
    """
    return _respond(status, "success", _message(key, text, caller), result, metadata)


def route_success(key: str, text: str, caller: Caller, headers: tuple[tuple[str, str], ...] = ()) -> RouteAnswer:
    """Make the answer to a request that succeeded, as grouped routes give it."""
    return RouteAnswer(200, _body("success", _message(key, text, caller)), _JSON, headers)


def route_refusal(error: ApiError | UnauthorizedError) -> RouteAnswer:
    """Make the answer to a request that was refused, as grouped routes give it."""
    if isinstance(error, UnauthorizedError):
        return RouteAnswer(401, _body("error", f"NTFLIB_UNAUTH {error}"), _JSON)
    return RouteAnswer(error.status, _body("error", f"{error.key} {error.text}", error.result), _JSON)


def answer_error(error: Exception) -> Response:
    """Make the answer to a request that failed, for any error."""
    match error:
        case ApiError() | UnauthorizedError():
            refusal = route_refusal(error)
            return Response(refusal.body, refusal.status, content_type=refusal.content_type)
        case HTTPException(code=int(code)):
            response = _respond(code, error.name, error.description or error.name)
            response.headers.extend(
                [(name, value) for name, value in error.get_headers() if name.lower() not in {"content-type"}]
            )
            return response
        case StoreError():
            return _respond(500, "Internal Server Error", "The database cannot be used at the moment")
    return _respond(500, "Internal Server Error", "Internal Server Error")


def _message(key: str, text: str, caller: Caller | None) -> str:
    return f"{key} {text} {caller}" if caller else f"{key} {text}"


def _respond(status: int, word: str, message: str, result: Any = None, metadata: Any = None) -> Response:
    return Response(_body(word, message, result, metadata), status, content_type=_JSON)


def _body(word: str, message: str, result: Any = None, metadata: Any = None) -> bytes:
    body = {
        "status": word,
        "message": message,
        "version": _VERSION,
        "commit": None,
        "build": None,
        "metadata": metadata,
        "result": result,
    }
    return orjson.dumps(body)
