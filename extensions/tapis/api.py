"""Parts that all routes share: the caller, the request's body and query, access rules, and the kit."""

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

_LOGGED = 80  # characters of a value in a log line
_NAMING = ("type", "source", "subject", "seriesId", "name", "subjectFilter")
"""Keys of a body that a log line shows, so that its event or subscription can be found."""

_SUBJECT = "tapis_subject"


class _Subject(BaseConverter):
    """A subject in a path. The subject of a file holds slashes, and clients do not quote them."""

    regex = r"[\s\S]+"
    part_isolating = False


def _know_subjects(state: BlueprintSetupState) -> None:
    state.app.url_map.converters[_SUBJECT] = _Subject


@dataclass(frozen=True)
class Api:
    """The parts that views share.

    Attributes:
        host: the kit.
        settings: the extension's.
        access: the access rules.
        authenticator: verifies tokens.
        blueprint: routes are added to it.
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
        for expected in (ApiError, UnauthorizedError):  # they need no log line, unlike errors that the kit catches
            self.blueprint.register_error_handler(expected, answer_error)

    def route(self, operation_id: str, view: Callable[..., Response]) -> None:
        """Add the route of an operation. A slash at the end of its path is accepted.

        Args:
            operation_id: one of ``OPERATIONS``.
            view: makes the answer.
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
        """Return the caller of the request.

        Raises:
            UnauthorizedError: the token, or a header about the caller, is not valid.
        """
        return self.authenticator.authenticate({name: request.headers.get(name, "") for name in HEADERS})

    def body(self, schema: Schema) -> dict[str, Any]:
        """Return the request's body as a schema loads it.

        Raises:
            ApiError: 400, it is no JSON object, or does not match the schema.
        """
        try:
            loaded: dict[str, Any] = schema.load(self.json())
        except ValidationError as error:
            raise bad_request(problems_of(error), "NTFAPI_INVALID_JSON") from None
        return loaded

    def json(self) -> dict[str, Any]:
        """Return the request's body. JSON as Python's ``json`` writes it, such as NaN, is repaired and logged.

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
            logger.warning("Invalid JSON repaired in the body of %s %s: %s", request.path, named, done)
        return found

    def query(self) -> Mapping[str, str]:
        """Return the query's parameters.

        Raises:
            ApiError: 400, a parameter is repeated, or holds the character U+0000.
        """
        return once(request.args)
