"""Error answers as Steadybit's extension-kit defines them: ``{"title", "detail"}`` as application/json."""

import logging

from flask import Response, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound, RequestEntityTooLarge

from extension_kit.events.answers import NOT_FOUND, method_not_allowed, problem, too_large
from extension_kit.web.responses import respond

logger = logging.getLogger("extension_kit.web")


def answer_error(error: Exception) -> Response:
    """Answer an exception of a view: HTTP errors with their status, others with a 500 that reveals no internals."""
    if isinstance(error, NotFound):
        return respond(NOT_FOUND)
    if isinstance(error, MethodNotAllowed):
        return respond(method_not_allowed(*sorted(error.valid_methods or ())))
    if isinstance(error, RequestEntityTooLarge):
        return respond(too_large(request.max_content_length or 0))
    if isinstance(error, HTTPException):
        return respond(problem(error.code or 500, error.name, error.description))
    logger.exception("%s %s failed", request.method, request.path, exc_info=error)
    return respond(problem(500, "Internal Server Error", "The log of the extension says what went wrong."))
