"""All routes under /v3/notifications."""

from collections.abc import Callable
from itertools import count

from flask import Response
from sqlalchemy import select

from extension_kit.protocol import Kit, Routes, StoreError

from .api import Api
from .document import document
from .envelope import ApiError, answer_error, success
from .event_routes import add_event_routes
from .operations import BASE
from .sequence_routes import add_sequence_routes
from .settings import TapisSettings
from .subscription_routes import add_subscription_routes
from .tables import series


def routes(kit: Kit, settings: TapisSettings) -> Routes:
    """Make the routes.

    Args:
        kit: the kit.
        settings: the extension's.
    """
    api = Api(kit, settings)
    add_subscription_routes(api)
    grouped = add_event_routes(api)
    add_sequence_routes(api)
    api.route("healthCheck", _health_check())
    api.route("readyCheck", _ready_check(kit))
    api.blueprint.add_url_rule("/openapi.json", "document", _document)
    return Routes(api.blueprint, (BASE,), answer_error, grouped=grouped)


def _health_check() -> Callable[[], Response]:
    numbers = count(1)

    def health_check() -> Response:
        result = f"Health check received. Count: {next(numbers)}"
        return success("TAPIS_HEALTHY", "Health check: Notifications Service", None, result)

    return health_check


def _ready_check(kit: Kit) -> Callable[[], Response]:
    numbers = count(1)

    def ready_check() -> Response:
        try:
            with kit.read() as connection:
                connection.execute(select(series.c.key).limit(1))
        except StoreError:
            raise ApiError(503, "TAPIS_NOT_READY", "the database cannot be used") from None
        result = f"Ready check received. Count: {next(numbers)}"
        return success("TAPIS_READY", "Ready check: Notifications Service", None, result)

    return ready_check


def _document() -> Response:
    return Response(document(), content_type="application/json")
