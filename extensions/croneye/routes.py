"""All routes of CronEye's API."""

import orjson
from flask import Blueprint, Response

from extension_kit.protocol import Kit, Routes

from .accounts import Accounts
from .answers import answer_error
from .dashboard import Dashboard
from .document import API, UPSTREAM_PREFIX, build_document
from .listener import Listener
from .settings import CronEyeSettings


def routes(kit: Kit, settings: CronEyeSettings) -> Routes:
    """Make the routes of services and of dashboards."""
    blueprint = Blueprint("croneye", __name__)
    listeners = dict.fromkeys((f"{settings.prefix}/event", f"{UPSTREAM_PREFIX}/event"))
    Dashboard(kit, Accounts(kit, settings)).add_to(blueprint, API)
    described = orjson.dumps(build_document(settings.prefix))

    @blueprint.get(f"{API}/openapi.json", provide_automatic_options=False)
    def openapi() -> Response:
        return Response(described, content_type="application/json")

    return Routes(blueprint, (*listeners, API), answer_error, grouped=Listener(settings).routes(listeners))
