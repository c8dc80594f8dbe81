"""API answers: JSON with a tag by which a poll learns that nothing has changed, and the reading of requests."""

from collections.abc import Collection, Mapping
from hashlib import blake2b
from typing import Any

import orjson
from flask import Response, request
from jsonschema_rs import Draft202012Validator
from werkzeug.exceptions import BadRequest

from extension_kit.event_log.paging import BadFilter
from extension_kit.events.answers import Answer, problem
from extension_kit.web.responses import respond

_MOST_NAMED = 5  # problems of a body


def answer(value: object, status: int = 200, **headers: str) -> Response:
    """Return JSON; 304 without it if a GET names the tag of the same content.

    Args:
        value: of JSON, or times, which are written in UTC.
        status: HTTP status.
        headers: further headers.
    """
    body = orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)
    response = respond(Answer(status, body, headers=tuple(headers.items())))
    if request.method in ("GET", "HEAD"):
        response.set_etag(blake2b(body, digest_size=16).hexdigest())
        response.make_conditional(request)
    return response


def missing(noun: str, ref: object) -> Response:
    """Return the answer for something that is not there, or no longer."""
    return respond(problem(404, "Not found", f"There is no {noun} {ref}, or retention has removed it."))


def arguments(allowed: Collection[str]) -> Mapping[str, str]:
    """Return the parameters of the present request's query.

    Raises:
        BadFilter: a parameter is not allowed, is empty, or occurs twice.
    """
    given = request.args
    for name in given:
        if name not in allowed:
            there = f"there are {', '.join(allowed)}" if allowed else "there are none"
            raise BadFilter(f"There is no parameter {name!r:.80} here; {there}.")
        if len(given.getlist(name)) > 1:
            raise BadFilter(f"The parameter {name} occurs twice.")
        if not given[name].strip():
            raise BadFilter(f"The parameter {name} is empty: leave it out.")
    return given.to_dict()


def read_body(validator: Draft202012Validator) -> dict[str, Any]:
    """Return the JSON body of the present request.

    Raises:
        BadRequest: it is not JSON, or does not match the schema.
    """
    try:
        data = orjson.loads(request.get_data())
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"The body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}.") from error
    if validator.is_valid(data):
        return dict(data)
    found = sorted((f"/{'/'.join(map(str, each.instance_path))}", each.message) for each in validator.iter_errors(data))
    named = "; ".join(f"{place}: {message}" for place, message in found[:_MOST_NAMED])
    raise BadRequest(f"The body is not what /api/openapi.json says. {named}.")
