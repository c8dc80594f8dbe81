"""Flask views of the listener paths, which agents send events to."""

from collections.abc import Callable

from flask import Blueprint, Response, request
from werkzeug.exceptions import BadRequest
from werkzeug.wsgi import get_input_stream

from extension_kit.events.answers import too_large
from extension_kit.events.pending import ImmediateRun, Pending
from extension_kit.events.registry import Route
from extension_kit.events.request_headers import deadline_after, parse_timeout
from extension_kit.runtime.service import Service
from extension_kit.web.responses import respond

_CHUNK = 256 * 1024
_DROPPED_LIMITS = 4


def listeners_blueprint(service: Service) -> Blueprint:
    """Make a blueprint with one view for each path of a service's listeners."""
    listeners = Blueprint("listeners", __name__)
    for path, route in service.registry.routes.items():
        listeners.add_url_rule(
            path,
            endpoint=path.strip("/").replace(".", ":"),
            view_func=_view(service, route),
            methods=["POST"],
            provide_automatic_options=False,
        )
    return listeners


def _view(service: Service, route: Route) -> Callable[[], Response]:
    limit = service.settings.max_body_bytes

    def receive() -> Response:
        headers = request.headers
        if (body := read_body(limit)) is None:
            return respond(too_large(limit))
        timeout = parse_timeout(headers.get("Request-Timeout") or headers.get("X-Request-Timeout") or "")
        outcome = service.receiver.receive(
            route,
            body,
            headers.get("Content-Type", ""),
            deadline_after(timeout) if timeout else None,
            # Without a time limit the request's own thread runs the functions; only another thread can enforce a limit.
            service.pool.submit if timeout or service.runtime else _run_here,
        )
        return respond(outcome.wait(timeout) if isinstance(outcome, Pending) else outcome)

    return receive


def _run_here(run: ImmediateRun) -> bool:
    run()
    return True


def read_body(limit: int) -> bytes | None:
    """Read the body of the current request; return None if it is over ``limit`` bytes.

    A body over the limit is still read, up to a multiple of the limit, and dropped: if a server closes a connection
    while the client is sending, the client sees a broken connection instead of the answer.

    Raises:
        BadRequest: the body broke off, or its chunks are malformed.
    """
    stream = get_input_stream(request.environ)
    chunks = []
    size = 0
    try:
        while size <= limit * _DROPPED_LIMITS and (chunk := stream.read(_CHUNK)):
            size += len(chunk)
            if size <= limit:
                chunks.append(chunk)
    except Exception as error:  # every WSGI server has its own exceptions for client errors
        raise BadRequest("The body broke off, or its chunks are malformed.") from error
    if max(size, request.content_length or 0) > limit:
        return None
    if size < (request.content_length or 0):
        raise BadRequest("The body broke off: it is shorter than its Content-Length.")
    return b"".join(chunks)
