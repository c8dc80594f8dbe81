"""The Flask application: the ordinary edge, and everything that is not an event."""

import time

from flask import Flask, Response, g, request

from extension_kit.events.answer import UNAUTHORIZED
from extension_kit.events.receive import request_id
from extension_kit.logs import AccessLog
from extension_kit.service import Service
from extension_kit.web.health import health
from extension_kit.web.index import index_blueprint
from extension_kit.web.listeners import listeners_blueprint
from extension_kit.web.problems import answer_error
from extension_kit.web.responses import compress, respond


def create_app(service: Service) -> Flask:
    """Make the Flask application of a service."""
    app = Flask("extension_kit", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = service.settings.max_body_bytes
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.url_map.merge_slashes = False  # what is not served is answered 404, not redirected to what might be meant
    app.extensions["extension_kit"] = service
    app.register_blueprint(listeners_blueprint(service))
    app.register_blueprint(index_blueprint(service))
    app.register_blueprint(health)
    app.register_error_handler(Exception, answer_error)
    access_log = AccessLog()

    @app.before_request
    def admit() -> Response | None:
        g.started = time.perf_counter()
        g.request_id = request_id(request.headers.get("Request-Id", ""))
        if service.credentials is None or request.path.startswith("/health/"):
            return None
        if service.credentials.admit(request.headers.get("Authorization", "")):
            return None
        return respond(UNAUTHORIZED)

    @app.after_request
    def finish(response: Response) -> Response:
        compress(response)
        response.headers["Request-Id"] = g.request_id
        access_log.write(
            request.method,
            request.path,  # without the query, which may hold secrets
            response.status_code,
            request.content_length or 0,
            response.calculate_content_length() or 0,
            (time.perf_counter() - g.started) * 1000,
            g.request_id,
        )
        return response

    return app
