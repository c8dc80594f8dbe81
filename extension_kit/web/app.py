"""The Flask application: all routes, authentication, access log and metrics."""

import time
from functools import partial

from flask import Flask, Response, g, request

from extension_kit.events.answers import UNAUTHORIZED
from extension_kit.events.request_headers import request_id
from extension_kit.observability import metrics
from extension_kit.observability.metrics_page import no_backlog, page
from extension_kit.runtime.service import Service
from extension_kit.web.event_views import fast_event_routes, listeners_blueprint
from extension_kit.web.fast_path import FastPath
from extension_kit.web.grouped_routes import fast_grouped_routes
from extension_kit.web.health import health_blueprint
from extension_kit.web.hooks import Hooks
from extension_kit.web.index import index_blueprint
from extension_kit.web.peer_certificate import add_peer_certificate
from extension_kit.web.protocol_routes import answer_any_error, mount, owner
from extension_kit.web.responses import respond
from extension_kit.web.traces import Traces


def create_app(service: Service, *, embed_worker: bool = True) -> Flask:
    """Make the Flask application of a service.

    Args:
        service: the extensions to serve.
        embed_worker: True makes the deliveries of durable listeners in this process, from its first request on; a
            thread started earlier would not survive the fork of a server that preloads the application.

    Raises:
        StoreError: the database cannot be used for making deliveries.
    """
    if embed_worker and service.runtime is not None:
        service.runtime.check_sessions()
    app = Flask("extension_kit", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = service.settings.max_body_bytes
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.url_map.merge_slashes = False  # so that a path with // is answered 404 instead of redirected
    app.extensions["extension_kit"] = service
    app.register_blueprint(listeners_blueprint(service))
    app.register_blueprint(index_blueprint(service))
    app.register_blueprint(health_blueprint(service))
    mounted = mount(app, service)
    on_error = partial(answer_any_error, mounted)
    app.register_error_handler(Exception, on_error)
    traces = Traces()
    runtime = service.runtime
    routes = service.registry.routes
    metrics.start()
    metrics.describe(service.name, service.version, routes, [*runtime.keys, metrics.SUBSCRIPTIONS] if runtime else ())

    @app.get("/metrics")
    def show_metrics() -> Response:
        metrics.pool_waiting(service.pool.waiting)
        status, content_type, body = page(runtime.backlog if runtime else no_backlog)
        return Response(body, status, content_type=content_type)

    def begin() -> None:
        if embed_worker:
            service.begin()

    @app.before_request
    def admit() -> Response | None:
        begin()
        g.started = time.perf_counter()
        g.request_id = request_id(request.headers.get("Request-Id", ""))
        if owner(mounted, request.path):
            add_peer_certificate(request.environ)
            return None
        if service.credentials is None or request.path.startswith("/health/"):
            return None
        if service.credentials.admit(request.headers.get("Authorization", "")):
            return None
        return respond(UNAUTHORIZED)

    @app.after_request
    def finish(response: Response) -> Response:
        name = None
        if request.path in routes:
            name = request.path
        elif request.url_rule is not None and owner(mounted, request.path):
            name = f"{request.method} {request.url_rule.rule}"
        return traces.finish(response, name)

    app.wsgi_app = FastPath(  # type: ignore[method-assign]
        app,
        [*fast_event_routes(app, service), *fast_grouped_routes(app)],
        Hooks(app, admit, finish),
        limit=service.settings.max_body_bytes,
        begin=begin,
        on_error=on_error,
        traces=traces,
    )
    return app
