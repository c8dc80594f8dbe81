"""All routes of CronEye's API."""

import orjson
from flask import Blueprint, Response

from extension_kit.protocol import Host, Routes

from .accounts import Accounts
from .answers import answer_error
from .dashboard import Dashboard
from .document import API, UPSTREAM_PREFIX, document
from .listener import listener_view
from .settings import CronEyeSettings


def routes(host: Host, settings: CronEyeSettings) -> Routes:
    """Make the routes of services and of dashboards."""
    blueprint = Blueprint("croneye", __name__)
    receive = listener_view(host, settings)
    listeners = dict.fromkeys((f"{settings.prefix}/event", f"{UPSTREAM_PREFIX}/event"))
    for number, path in enumerate(listeners):
        blueprint.add_url_rule(path, f"event{number}", receive, methods=["POST"], provide_automatic_options=False)
    Dashboard(host, Accounts(host, settings)).add_to(blueprint, API)
    described = orjson.dumps(document(settings.prefix))

    @blueprint.get(f"{API}/openapi.json", provide_automatic_options=False)
    def openapi() -> Response:
        return Response(described, content_type="application/json")

    return Routes(blueprint, (*listeners, API), answer_error)
