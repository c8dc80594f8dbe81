"""Views of the listener paths, which agents send events to: Flask's, and the same on the fast path."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from threading import Event as Signal
from typing import Any

from flask import Blueprint, Flask, Response, request

from extension_kit.events.answers import Answer, too_large
from extension_kit.events.pending import Pending
from extension_kit.events.receive import Start
from extension_kit.events.registry import Route
from extension_kit.events.request_headers import deadline_after, parse_timeout
from extension_kit.observability.tracing import as_trace_context
from extension_kit.runtime.service import Service
from extension_kit.web.bodies import read_body
from extension_kit.web.fast_path import FastRoute
from extension_kit.web.responses import respond

_BLUEPRINT = "listeners"
_START_TIMEOUT = 10.0  # seconds that a request waits for the functions that are called first in a process


def listeners_blueprint(service: Service) -> Blueprint:
    """Make a blueprint with one view for each path of a service's listeners."""
    listeners = Blueprint(_BLUEPRINT, __name__)
    for path, route in service.registry.routes.items():
        listeners.add_url_rule(
            path,
            endpoint=_endpoint(path),
            view_func=_view(service, route),
            methods=["POST"],
            provide_automatic_options=False,
        )
    return listeners


def fast_event_routes(app: Flask, service: Service) -> Iterator[FastRoute]:
    """Return the routes of the views in an application for its fast path."""
    admit = service.credentials.admit if service.credentials else None
    for path, route in service.registry.routes.items():
        endpoint = f"{_BLUEPRINT}.{_endpoint(path)}"
        view = app.view_functions[endpoint]
        yield FastRoute(path, path, endpoint, view, partial(_answer_event, service, route), admit)


def _endpoint(path: str) -> str:
    return path.strip("/").replace(".", ":")


def _view(service: Service, route: Route) -> Callable[[], Response]:
    limit = service.settings.max_body_bytes

    def receive() -> Response:
        environ = request.environ
        if (body := read_body(environ, limit)) is None:
            return respond(too_large(limit))
        return respond(_answer_event(service, route, environ, body))

    return receive


def _answer_event(service: Service, route: Route, environ: Mapping[str, Any], body: bytes) -> Answer:
    timeout = parse_timeout(environ.get("HTTP_REQUEST_TIMEOUT") or environ.get("HTTP_X_REQUEST_TIMEOUT") or "")
    receiver = service.receiver
    outcome = receiver.receive(
        route,
        body,
        environ.get("CONTENT_TYPE", ""),
        deadline_after(timeout) if timeout else None,
        # Without a time limit the request's own thread runs the functions; only another thread can enforce a limit.
        _after(service.hooks.has_started, service.pool.submit if timeout or service.runtime else _run_here),
        _trace_context(environ) if receiver.takes_trace_contexts else "",
    )
    return outcome.wait(timeout) if isinstance(outcome, Pending) else outcome


def _trace_context(environ: Mapping[str, Any]) -> str:
    return as_trace_context(environ.get("HTTP_TRACEPARENT", ""), environ.get("HTTP_TRACESTATE", ""))


def _after(has_started: Signal, start: Start) -> Start:
    """Return a start of functions that fails while the process has not started."""
    return start if has_started.is_set() else lambda run: has_started.wait(_START_TIMEOUT) and start(run)


def _run_here(run: Callable[[], None]) -> bool:
    run()
    return True
