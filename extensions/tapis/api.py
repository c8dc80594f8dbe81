"""Parts that all routes share: the caller, the request's body and query, access rules, and the kit."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from flask import Blueprint, Response, request
from flask.blueprints import BlueprintSetupState
from marshmallow import Schema
from werkzeug.datastructures import Headers
from werkzeug.routing import BaseConverter
from werkzeug.sansio.request import Request

from extension_kit.protocol import (
    GroupedRoute,
    InvalidBody,
    Kit,
    NotAnObject,
    NotJson,
    ReceivedRequest,
    RouteAnswer,
    Transaction,
    load_json,
    read_json,
)

from .access import Access
from .envelope import ApiError, answer_error, bad_request
from .operations import BASE, OPERATIONS
from .paging import single_values
from .schemas import describe
from .settings import TapisSettings
from .tokens import HEADERS, Authenticator, Caller, UnauthorizedError

_NAMING = ("type", "source", "subject", "seriesId", "name", "subjectFilter")
"""Keys of a body that a log line shows, so that its event or subscription can be found."""

_SUBJECT = "tapis_subject"

Item = TypeVar("Item")


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
        kit: the kit.
        settings: the extension's.
        access: the access rules.
        authenticator: verifies tokens.
        blueprint: routes are added to it.
    """

    kit: Kit
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

    def grouped_route(
        self,
        operation_id: str,
        parse: "Callable[[ReceivedRequest], Item | RouteAnswer]",
        write: "Callable[[Transaction, Sequence[Item]], Sequence[RouteAnswer | Exception]]",
        admit: Callable[[ReceivedRequest], RouteAnswer | None],
    ) -> "GroupedRoute[Item]":
        """Make the route of an operation with requests that are written in groups.

        Args:
            operation_id: one of ``OPERATIONS``.
            parse: as of ``GroupedRoute``.
            write: as of ``GroupedRoute``.
            admit: as of ``GroupedRoute``.
        """
        operation = OPERATIONS[operation_id]
        self.blueprint.add_url_rule(
            operation.path,
            f"{operation_id}-options",
            methods=["OPTIONS"],
            strict_slashes=False,
            provide_automatic_options=True,
        )
        return GroupedRoute(
            operation.method.upper(),
            f"{BASE}{operation.path}",
            parse,
            write,
            admit,
            endpoint=f"{self.blueprint.name}.{operation_id}",
        )

    def caller(self) -> Caller:
        """Return the caller of the request.

        Raises:
            UnauthorizedError: the token, or a header about the caller, is not valid.
        """
        return self.authenticator.authenticate({name: request.headers.get(name, "") for name in HEADERS})

    def received_caller(self, received: ReceivedRequest) -> Caller:
        """Return the caller of a request of a grouped route.

        Raises:
            UnauthorizedError: the token, or a header about the caller, is not valid.
        """
        return self.authenticator.authenticate({name: received.headers.get(name.lower(), "") for name in HEADERS})

    def body(self, schema: Schema) -> dict[str, Any]:
        """Return the request's body as a schema loads it.

        Raises:
            ApiError: 400, it is no JSON object, or does not match the schema.
        """
        with _refusing():
            return read_json(schema, logged=_NAMING)

    def received_body(self, received: ReceivedRequest, schema: Schema) -> dict[str, Any]:
        """Return the body of a request of a grouped route as a schema loads it.

        Raises:
            ApiError: 400, it is no JSON object, or does not match the schema.
        """
        with _refusing():
            return load_json(received.body, schema, path=received.path, source=self.blueprint.name, logged=_NAMING)

    def query(self) -> Mapping[str, str]:
        """Return the query's parameters.

        Raises:
            ApiError: 400, a parameter is repeated, or holds the character U+0000.
        """
        return single_values(request.args)

    @staticmethod
    def received_query(received: ReceivedRequest) -> Mapping[str, str]:
        """Return the parameters of the query of a request of a grouped route, as Flask reads them.

        Raises:
            ApiError: 400, a parameter is repeated, or holds the character U+0000.
        """
        if not received.query_string:
            return {}
        return single_values(
            Request(received.method, "http", None, "", received.path, received.query_string, Headers(), None).args
        )


@contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except (NotJson, NotAnObject):
        raise bad_request("the body is not a JSON object", "NTFAPI_INVALID_JSON") from None
    except InvalidBody as error:
        raise bad_request(describe(error.problems), "NTFAPI_INVALID_JSON") from None
