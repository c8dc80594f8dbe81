"""The Flask application of the event log: access, headers, errors, and the blueprints of the pages."""

import time
from importlib.metadata import version
from typing import Any

from flask import Flask, Response, g, request
from werkzeug.exceptions import BadRequest
from werkzeug.routing import IntegerConverter, Map

from extension_kit.deliveries.inbox import Inbox
from extension_kit.event_log.access import READ_METHODS, Access
from extension_kit.event_log.action_pages import action_page_blueprint
from extension_kit.event_log.action_views import action_blueprint
from extension_kit.event_log.actions import Actions
from extension_kit.event_log.api import api_blueprint
from extension_kit.event_log.context import EventLog
from extension_kit.event_log.database_state import DatabaseState
from extension_kit.event_log.delivery_pages import delivery_blueprint
from extension_kit.event_log.errors import answer_error
from extension_kit.event_log.event_pages import event_blueprint
from extension_kit.event_log.headers import secure
from extension_kit.event_log.login_views import ask_for_login, login_blueprint
from extension_kit.event_log.overview_page import overview_blueprint
from extension_kit.event_log.protocol_pages import protocol_blueprint
from extension_kit.event_log.protocol_tables import ProtocolTables
from extension_kit.event_log.receiver_pages import receiver_blueprint
from extension_kit.event_log.rendering import csrf_token
from extension_kit.event_log.run_pages import run_blueprint
from extension_kit.event_log.session_cookies import SessionCookies
from extension_kit.event_log.shared_pages import SharedPages
from extension_kit.event_log.texts import add_filters
from extension_kit.events.request_headers import request_id
from extension_kit.web.traces import Traces

MOST_BODY_BYTES = 64 * 1024
"""Maximum size of a request's body."""

_PAGES = (
    ("/", "Overview"),
    ("/events", "Events"),
    ("/deliveries", "Deliveries"),
    ("/receivers", "Receivers"),
    ("/runs", "Runs"),
    ("/actions", "Actions"),
)

ACTIONS = "extension_kit.event_log.actions"
"""Name in ``Flask.extensions`` of the application's ``Actions``, which are to be stopped with the server."""

_HEALTH = "/health"
_STATIC = "/static/"
_WITHOUT_VIEWER = {"/login", "/logout"}


def create_app(log: EventLog) -> Flask:
    """Make the Flask application of an event log.

    Args:
        log: the settings, the database and the extensions.
    """
    app = Flask(__package__)
    app.config["MAX_CONTENT_LENGTH"] = MOST_BODY_BYTES
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    tables = ProtocolTables(log)
    pages = [*_PAGES, *tables.links]
    app.jinja_env.globals.update(version=version("extension-kit"), csrf_token=csrf_token, pages=pages)
    app.url_map.converters["int"] = _Ref
    add_filters(app)
    app.register_error_handler(Exception, answer_error)
    access = Access(log.settings)
    _admit_viewers(app, access, DatabaseState(log.database), log.pages)
    app.extensions[ACTIONS] = actions = Actions(log.database, log.pages.forget)
    unfiled = Inbox(log.database).unfiled
    for blueprint in (
        login_blueprint(access),
        overview_blueprint(log, unfiled),
        event_blueprint(log, unfiled),
        delivery_blueprint(log),
        receiver_blueprint(log),
        run_blueprint(log),
        action_page_blueprint(log),
        protocol_blueprint(log, tables),
        action_blueprint(log, actions),
        api_blueprint(log, actions, unfiled, tables),
    ):
        app.register_blueprint(blueprint)

    @app.get(_HEALTH)
    def health() -> Response:
        return Response("OK\n", content_type="text/plain; charset=utf-8")

    return app


class _Ref(IntegerConverter):
    """Number of a row in a path: a larger one than databases have leads nowhere."""

    def __init__(self, map: Map) -> None:
        super().__init__(map, min=0, max=2**63 - 1)


def _admit_viewers(app: Flask, access: Access, state: DatabaseState, pages: SharedPages) -> None:
    """Have each request find its session and viewer before its view is called, or be refused.

    After one that may have changed something, the pages are made anew.

    Raises:
        BadRequest: the name of the host is not allowed.
    """
    traces = Traces()

    @app.before_request
    def admit() -> Any:
        g.started = time.perf_counter()
        g.request_id = request_id(request.headers.get("Request-Id", ""))
        g.viewer, g.keeps_session, g.is_shared = None, False, False
        g.cookies = SessionCookies(request, is_encrypted=access.proxies.is_encrypted(request))
        g.session = g.cookies.session(access.sessions)
        if request.path == _HEALTH:
            return None
        if not access.hosts.allow(request.headers.get("Host", "")):
            raise BadRequest("EXTENSION_EVENT_LOG_HOSTS does not list the name of this address.")
        if request.path.startswith(_STATIC):
            return None
        access.refuse_forgery(request, g.session)
        if request.path in _WITHOUT_VIEWER:
            return None
        if (viewer := access.viewer(request, g.session)) is None:
            return ask_for_login()
        g.viewer = viewer
        access.refuse_actions(request, viewer)
        state.check()
        return None

    @app.context_processor
    def add_viewer() -> dict[str, Any]:
        return {"viewer": g.viewer, "page": f"/{request.path.split('/')[1]}"}

    @app.after_request
    def finish(response: Response) -> Response:
        if g.viewer is not None and request.method not in READ_METHODS:
            pages.forget()
        if g.keeps_session and g.session.is_new:
            g.cookies.keep(response, g.session)
        secure(response)
        return traces.finish(response)
