"""Routes of other systems' event protocols, mounted beside the kit's own."""

import logging
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from flask import Flask, Response, request
from werkzeug.exceptions import BadRequest, HTTPException, RequestEntityTooLarge

from extension_kit.errors import RegistrationError, StoreError
from extension_kit.runtime.contract import Routes
from extension_kit.runtime.service import Service
from extension_kit.web.bodies import read_body
from extension_kit.web.errors import answer_error
from extension_kit.web.grouped_routes import MountedRoute, add_grouped_route
from extension_kit.web.traced_views import trace_views

logger = logging.getLogger("extension_kit.web")

_KIT = ("/", "/health", "/metrics", "/openapi.json")


def mount(app: Flask, service: Service) -> list[Routes]:
    """Add the routes of a service's protocols to its application.

    Raises:
        RegistrationError: a protocol has a path of the kit, of a listener or of another protocol, or a blueprint of
            the same name as another.
    """
    if service.runtime is None:
        return []
    mounted: list[Routes] = []
    for protocol in service.protocols:
        if (routes := protocol.make_routes(service.runtime.kit)) is None:
            continue
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
        make_error = partial(answer_any_error, mounted)
        trace_views(app, routes.blueprint.name)
        for grouped in routes.grouped:
            commit = service.runtime.group_commit(grouped)
            add_grouped_route(MountedRoute(app, grouped, commit, make_error, service.settings.request_timeout))
    return mounted


def answer_any_error(mounted: Sequence[Routes], error: Exception) -> Response:
    """Answer an error of a request in the form of the kit or, under a protocol's paths, of the protocol."""
    if (routes := owner(mounted, request.path)) is None:
        return answer_error(error)
    if isinstance(error, RequestEntityTooLarge):
        with suppress(BadRequest):
            read_body(
                request.environ, request.max_content_length or 0
            )  # a client that is still sending would not see the answer
    elif isinstance(error, StoreError):
        logger.error("%s %s: %s", request.method, request.path, error)
    elif not isinstance(error, HTTPException):
        logger.error("%s %s failed", request.method, request.path, exc_info=error)
    try:
        return routes.answer_error(error)
    except Exception as mistake:
        return answer_error(mistake)


def owner(mounted: Sequence[Routes], path: str) -> Routes | None:
    """Return the routes of the protocol that a path belongs to; None for paths of the kit."""
    return next((routes for routes in mounted if routes.own(path)), None)
