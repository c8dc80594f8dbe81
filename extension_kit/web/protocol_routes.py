"""The routes of other systems' event protocols, beside the kit's own."""

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from flask import Blueprint, Flask, Response, request
from werkzeug.exceptions import BadRequest, HTTPException, RequestEntityTooLarge

from extension_kit.errors import RegistrationError, StoreError
from extension_kit.runtime.service import Service
from extension_kit.web.errors import answer_error
from extension_kit.web.event_views import read_body

logger = logging.getLogger("extension_kit.web")

_KIT = ("/", "/health", "/metrics", "/openapi.json")


@dataclass(frozen=True)
class Routes:
    """What a protocol answers.

    Args:
        blueprint: its views. Who may call them is for them to say: the kit's user name and password are not asked for.
        paths: beginnings of all paths that are the protocol's, such as ``/croneye/api``.
        answer_error: answers whatever goes wrong under these paths, in the protocol's own form: HTTP errors of
            werkzeug, such as 404, 405 and 413, and what views raise, which the kit has logged.
    """

    blueprint: Blueprint
    paths: tuple[str, ...]
    answer_error: Callable[[Exception], Response]

    def own(self, path: str) -> bool:
        """Whether a path is the protocol's."""
        return any(path == own or path.startswith(own.rstrip("/") + "/") for own in self.paths)


def mount(app: Flask, service: Service) -> list[Routes]:
    """Add the routes of a service's protocols to its application.

    Raises:
        RegistrationError: a protocol has paths of the kit, of a listener or of another protocol.
    """
    if service.durability is None:
        return []
    mounted: list[Routes] = []
    for protocol, settings in service.protocols:
        routes: Routes = protocol.routes(service.durability.host, settings)
        taken = (*_KIT, *service.registry.routes, *(path for other in mounted for path in other.paths))
        shared = [path for path in taken if routes.own(path)]
        shared += [path for path in routes.paths if owner(mounted, path)]
        if shared:
            raise RegistrationError(
                f"{protocol.source}: {shared[0]} belongs to the kit, a listener or another protocol: "
                f"choose other paths than {', '.join(routes.paths)}"
            )
        if routes.blueprint.name in app.blueprints:
            raise RegistrationError(
                f"{protocol.source}: another blueprint is called {routes.blueprint.name!r}, rename it"
            )
        app.register_blueprint(routes.blueprint)
        mounted.append(routes)
    return mounted


def answer_any_error(mounted: Sequence[Routes], error: Exception) -> Response:
    """Answer what went wrong in the form of whose path it is."""
    if (routes := owner(mounted, request.path)) is None:
        return answer_error(error)
    if isinstance(error, RequestEntityTooLarge):
        with suppress(BadRequest):
            read_body(request.max_content_length or 0)  # and drop it, as a client that still sends sees no answer
    elif isinstance(error, StoreError):
        logger.error("%s %s: %s", request.method, request.path, error)
    elif not isinstance(error, HTTPException):
        logger.error("%s %s failed", request.method, request.path, exc_info=error)
    try:
        return routes.answer_error(error)
    except Exception as mistake:
        return answer_error(mistake)


def owner(mounted: Sequence[Routes], path: str) -> Routes | None:
    """Whose path it is; None: the kit's."""
    return next((routes for routes in mounted if routes.own(path)), None)
