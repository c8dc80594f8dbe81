"""Parts that all routes share: the kit, the settings, the caller's access, and the body of a request."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from flask import Blueprint, Response
from marshmallow import Schema
from werkzeug.routing import IntegerConverter

from extension_kit.protocol import InvalidBody, Kit, read_json, refuse_missing_secrets

from .access import JWT_VARIABLE, Access
from .answers import EventhosError, answer_error
from .body_fields import in_words
from .encryption import VARIABLE, Encryption
from .settings import EventhosSettings

_LONGEST_MESSAGE = 2000  # characters
_ID = "eventhos_id"


class _IdConverter(IntegerConverter):
    """Numbers of rows in paths: other texts, and numbers that a database may not take, are no such path."""

    regex = "[0-9]{1,18}"


@dataclass(frozen=True)
class Api:
    """The parts that views share.

    Attributes:
        kit: the kit.
        settings: the extension's.
        encryption: encrypts secrets and the event log.
        access: the callers and their permissions.
        blueprint: routes are added to it.
    """

    kit: Kit
    settings: EventhosSettings
    encryption: Encryption = field(init=False)
    access: Access = field(init=False)
    blueprint: Blueprint = field(init=False)

    def __post_init__(self) -> None:
        secrets = {VARIABLE: self.settings.crypto_key, JWT_VARIABLE: self.settings.jwt_secret}
        refuse_missing_secrets(self.kit.database, secrets)
        object.__setattr__(self, "encryption", Encryption.of(self.kit, self.settings))
        object.__setattr__(self, "access", Access(self.kit, self.settings))
        object.__setattr__(self, "blueprint", Blueprint("eventhos", __name__))
        self.blueprint.record_once(lambda state: state.app.url_map.converters.update({_ID: _IdConverter}))
        self.blueprint.register_error_handler(EventhosError, answer_error)  # expected, so no log line of the kit

    def route(self, method: str, path: str, view: Callable[..., Response], permission: str | None = None) -> None:
        """Add a route.

        Args:
            method: in upper case.
            path: with the numbers of rows in braces, such as ``/event/{id}``; the view gets them.
            view: makes the answer.
            permission: needed by the caller, such as ``event:create``; None: the view checks the caller itself.
        """

        def checked(**arguments: Any) -> Response:
            if permission is not None:
                self.access.require(permission)
            return view(**arguments)

        self.blueprint.add_url_rule(
            re.sub(r"{(\w+)}", rf"<{_ID}:\1>", path),
            f"{method} {path}".replace(".", "_"),
            checked,
            methods=[method],
            strict_slashes=False,
            provide_automatic_options=False,
        )

    def body(self, schema: Schema, code: int) -> dict[str, Any]:
        """Return the request's body as a schema loads it.

        Args:
            schema: loads the object.
            code: eventhos's code of a body that it refuses.

        Raises:
            EventhosError: 400, the body is no JSON object, or does not match the schema.
        """
        try:
            return read_json(schema)
        except InvalidBody as error:
            reason = in_words(error.problems) if error.problems else error.description
            raise EventhosError(400, code, f"{reason:.{_LONGEST_MESSAGE}}") from None
