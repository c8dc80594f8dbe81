"""JSON bodies of other systems' requests: read leniently, and checked by a schema."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from flask import request
from jsonschema_rs import Draft202012Validator
from marshmallow import Schema, ValidationError
from werkzeug.exceptions import BadRequest

from extension_kit.events.foreign_json import read_foreign_json

_LOGGED = 80  # characters of a value in a log line


class InvalidBody(BadRequest):
    """The body of a request is refused; an error with the status 400, unless the view catches it.

    Attributes:
        problems: marshmallow's messages by key; empty unless a marshmallow schema refused the body.
    """

    def __init__(self, message: str, problems: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.problems = problems or {}


class NotJson(InvalidBody):
    """The body of a request is not JSON."""


class NotAnObject(InvalidBody):
    """The body of a request is JSON, but no object."""


def read_json(
    schema: Schema | Draft202012Validator | None = None, *, may_be_empty: bool = False, logged: Sequence[str] = ()
) -> dict[str, Any]:
    """Return the body of the current request, which is a JSON object.

    JSON as Python's ``json`` writes it, such as NaN, is repaired (see ``read_foreign_json``), with a warning on the
    logger ``extension_kit.<blueprint>``.

    Args:
        schema: a marshmallow schema that loads the object, or a validator of JSON Schema that checks it; None: it is
            returned as it was read.
        may_be_empty: True if no body at all stands for an object without keys.
        logged: keys whose values the warning shows, so that the event can be found.

    Raises:
        NotJson: the body is not JSON.
        NotAnObject: it is JSON, but no object.
        InvalidBody: it does not match the schema.
    """
    return load_json(
        request.get_data(),
        schema,
        path=request.path,
        source=request.blueprint or "web",
        may_be_empty=may_be_empty,
        logged=logged,
    )


def load_json(
    body: bytes,
    schema: Schema | Draft202012Validator | None = None,
    *,
    path: str,
    source: str,
    may_be_empty: bool = False,
    logged: Sequence[str] = (),
) -> dict[str, Any]:
    """Return the body of a request that is no request of Flask, which is a JSON object, as ``read_json`` does.

    Args:
        body: of the request.
        schema: as ``read_json`` has it.
        path: of the request, for the warning.
        source: of the protocol: the warning is on the logger ``extension_kit.<source>``.
        may_be_empty: as ``read_json`` has it.
        logged: as ``read_json`` has it.

    Raises:
        NotJson: the body is not JSON.
        NotAnObject: it is JSON, but no object.
        InvalidBody: it does not match the schema.
    """
    found = {} if may_be_empty and not body else _read_object(body, path, source, logged)
    if isinstance(schema, Schema):
        try:
            loaded: dict[str, Any] = schema.load(found)
        except ValidationError as error:
            problems: dict[str, Any] = error.normalized_messages()  # type: ignore[no-untyped-call]
            raise InvalidBody("the body does not match its schema", problems) from error
        return loaded
    if schema is not None and not schema.is_valid(found):
        raise InvalidBody("the body does not match its schema")
    return found


def _read_object(body: bytes, path: str, source: str, logged: Sequence[str]) -> dict[str, Any]:
    try:
        found, repairs = read_foreign_json(body)
    except ValueError as error:
        raise NotJson("the body is not JSON") from error
    if not isinstance(found, dict):
        raise NotAnObject("the body is not a JSON object")
    if repairs:
        named = "".join(f" {key}={found[key]!r:.{_LOGGED}}" for key in logged if found.get(key) is not None)
        logger = logging.getLogger(f"extension_kit.{source}")
        logger.warning("Invalid JSON repaired in the body of %s%s: %s", path, named, ", ".join(repairs))
    return found
