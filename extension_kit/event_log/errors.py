"""Errors as pages, and under ``/api/`` as JSON. None reveals what is inside."""

import logging
from math import ceil
from typing import NamedTuple

from flask import Response, make_response, render_template, request
from werkzeug.exceptions import HTTPException, NotFound

from extension_kit.deliveries.pauses import TooManyPaused
from extension_kit.errors import StoreError, StoreUnavailable
from extension_kit.event_log.access import API
from extension_kit.event_log.actions import RETRY_AFTER, ActionEnded, CountChanged, NothingChosen, TooManyActions
from extension_kit.event_log.database_state import NothingYet
from extension_kit.event_log.paging import BadFilter
from extension_kit.event_log.receiver_actions import UnknownReceiver
from extension_kit.events.answers import problem
from extension_kit.web.password_tries import TooManyTries
from extension_kit.web.passwords import PasswordsBusy
from extension_kit.web.responses import respond

logger = logging.getLogger("extension_kit.event_log")


class _Problem(NamedTuple):
    status: int
    title: str
    detail: str
    retry_after: int | None = None


def answer_error(error: Exception) -> Response:
    """Answer an exception of a view."""
    found = _problem(error)
    if request.path.startswith(API):
        response = respond(problem(found.status, found.title, found.detail))
    else:
        status = 200 if isinstance(error, NothingYet) and request.method == "GET" else found.status
        response = make_response(render_template("error.html", title=found.title, detail=found.detail), status)
    if isinstance(error, HTTPException) and error.response is None:
        allowed = [header for header in error.get_headers() if header[0] in {"Allow", "Retry-After"}]
        response.headers.extend(allowed)
    if found.retry_after is not None:
        response.headers["Retry-After"] = str(found.retry_after)
    return response


def _problem(error: Exception) -> _Problem:
    match error:
        case NotFound():
            return _Problem(404, "Not found", "There is nothing at this address.")
        case HTTPException():
            return _Problem(error.code or 500, error.name, error.description or "")
        case BadFilter():
            return _Problem(400, "Bad Request", str(error))
        case CountChanged():
            expected = f"The expected number is {error.number}: look again, and repeat the request with it."
            return _Problem(409, "Conflict", expected)
        case NothingChosen() | ActionEnded() | UnknownReceiver() | TooManyPaused():
            return _Problem(409, "Conflict", str(error))
        case TooManyActions():
            return _Problem(503, "Service Unavailable", str(error), RETRY_AFTER)
        case TooManyTries():
            return _Problem(429, "Too many wrong passwords", "Wait, then try again.", ceil(error.seconds))
        case PasswordsBusy():
            return _Problem(503, "Too many people are logging in", "Try again in a second.", 1)
        case NothingYet():
            return _Problem(503, "There is nothing yet", str(error))
        case StoreUnavailable():
            return _Problem(503, "The database cannot be used", str(error), ceil(error.retry_after))
        case StoreError():
            return _Problem(503, "The database cannot be used", str(error))
    logger.error("%s %s failed", request.method, request.path, exc_info=error)
    return _Problem(500, "Internal Server Error", "The log of the event log says what went wrong.")
