"""What all routes need: who calls, what is in the body and in the query, and the database."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from flask import Blueprint, Response, request
from flask.blueprints import BlueprintSetupState
from marshmallow import Schema, ValidationError
from werkzeug.routing import BaseConverter

from extension_kit.protocol import Host, read_foreign_json

from .access import Access
from .envelope import ApiError, answer_error, bad_request
from .operations import BASE, OPERATIONS
from .paging import once
from .schemas import problems_of
from .settings import TapisSettings
from .tokens import HEADERS, Authenticator, Caller, UnauthorizedError

logger = logging.getLogger("extension_kit.tapis")

_LOGGED = 80  # characters of a value that a line of the log shows
_NAMING = ("type", "source", "subject", "seriesId", "name", "subjectFilter")
"""What a line of the log calls an event or a subscription by."""

_SUBJECT = "tapis_subject"


class _Subject(BaseConverter):
    """What is about a file begins with a slash, and holds more of them, which clients put into the path as they are."""

    regex = r"[\s\S]+"
    part_isolating = False


def _know_subjects(state: BlueprintSetupState) -> None:
    state.app.url_map.converters[_SUBJECT] = _Subject


@dataclass(frozen=True)
class Api:
    """The parts that views are made of.

    Attributes:
        host: the kit.
        settings: the extension's.
        access: who may do what.
        authenticator: verifies tokens.
        blueprint: what routes are added to.
    """

    host: Host
    settings: TapisSettings
    access: Access = field(init=False)
    authenticator: Authenticator = field(init=False)
    blueprint: Blueprint = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "access", Access(self.settings))
        object.__setattr__(self, "authenticator", Authenticator(self.settings))
        object.__setattr__(self, "blueprint", Blueprint("tapis", __name__, url_prefix=BASE))
        self.blueprint.record(_know_subjects)
        for expected in (ApiError, UnauthorizedError):  # which need not be logged, unlike what the kit catches
            self.blueprint.register_error_handler(expected, answer_error)

    def route(self, operation_id: str, view: Callable[..., Response]) -> None:
        """Add the route of an operation; with a slash at its end it is served, too.

        Args:
            operation_id: one of ``OPERATIONS``.
            view: answers.
        """
        operation = OPERATIONS[operation_id]
        path = operation.path.replace("{subject}", f"<{_SUBJECT}:subject>").replace("{", "<").replace("}", ">")
        self.blueprint.add_url_rule(
            path,
            operation_id,
            view,
            methods=[operation.method.upper(), "OPTIONS"],
            strict_slashes=False,
            provide_automatic_options=True,
        )

    def caller(self) -> Caller:
        """Say who calls.

        Raises:
            UnauthorizedError: nobody who is let in.
        """
        return self.authenticator.authenticate({name: request.headers.get(name, "") for name in HEADERS})

    def body(self, schema: Schema) -> dict[str, Any]:
        """Return the request's body as a schema loads it.

        Raises:
            ApiError: 400, it is no JSON object, or not as the schema wants it.
        """
        try:
            loaded: dict[str, Any] = schema.load(self.json())
        except ValidationError as error:
            raise bad_request(problems_of(error), "NTFAPI_INVALID_JSON") from None
        return loaded

    def json(self) -> dict[str, Any]:
        """Return the request's body as it is, but for what is not JSON in what Python writes.

        Raises:
            ApiError: 400, it is no JSON object.
        """
        try:
            found, repairs = read_foreign_json(request.get_data())
        except ValueError:
            found, repairs = None, ()
        if not isinstance(found, dict):
            raise bad_request("the body is not a JSON object", "NTFAPI_INVALID_JSON")
        if repairs:
            named = " ".join(f"{key}={found[key]!r:.{_LOGGED}}" for key in _NAMING if found.get(key) is not None)
            done = ", ".join(repairs)
            logger.warning("The body of %s %s is not JSON, and is taken all the same: %s", request.path, named, done)
        return found

    def query(self) -> Mapping[str, str]:
        """Return the query's parameters.

        Raises:
            ApiError: 400, one of them comes more than once, or holds what no database keeps.
        """
        return once(request.args)
