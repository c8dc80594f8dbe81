"""All routes of eventhos's API."""

from extension_kit.protocol import Kit, Routes

from .action_routes import add_action_routes
from .answers import answer_error
from .api import Api
from .client_routes import add_client_routes
from .contract_routes import add_contract_routes
from .document import add_document_route
from .event_routes import add_event_routes
from .log_routes import add_log_routes
from .login_routes import add_login_routes
from .send_routes import add_send_routes
from .settings import EventhosSettings
from .system_routes import add_system_routes

PREFIXES = ("/event", "/received", "/system", "/action", "/contract", "/auth")
"""Prefixes of all paths."""


def routes(kit: Kit, settings: EventhosSettings) -> Routes:
    """Make the routes.

    Raises:
        SettingError: a secret is missing.
    """
    api = Api(kit, settings)
    add_login_routes(api)
    accepting = add_send_routes(api)
    add_log_routes(api)
    add_client_routes(api)
    add_system_routes(api)
    add_event_routes(api)
    add_action_routes(api)
    add_contract_routes(api)
    add_document_route(api)
    return Routes(api.blueprint, PREFIXES, answer_error, grouped=(accepting.route,))
