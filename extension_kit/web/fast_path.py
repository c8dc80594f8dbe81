"""Fast path under WSGI servers: simple requests for listeners and grouped routes are answered without Flask.

In a request Flask costs more than everything else together. ``app.wsgi_app`` is a ``FastPath`` in front of Flask's own.
It answers a POST with a Content-Length while the application has no hooks but its own, and passes all other requests
on. Both ways give the same answers, to the byte.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from io import BytesIO
from typing import TYPE_CHECKING, Any

from flask import Flask, Response, g

from extension_kit.events.answers import COMPRESS_FROM, UNAUTHORIZED, Answer
from extension_kit.events.request_headers import request_id
from extension_kit.web.bodies import read_simple_body, simple_size
from extension_kit.web.hooks import Hooks
from extension_kit.web.peer_certificate import add_peer_certificate
from extension_kit.web.responses import compress, respond
from extension_kit.web.traces import Traces

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

_UNUSUAL = frozenset(("HTTP_UPGRADE", "HTTP_COOKIE", "werkzeug.debug.preserve_context"))
"""Keys of an environment that mean something to Flask."""

_STATUS_LINES = {200: "200 OK", 201: "201 CREATED", 202: "202 ACCEPTED"}


@dataclass(frozen=True)
class FastRoute:
    """A route that the fast path answers, too.

    Args:
        name: counted by the metrics.
        path: of the requests.
        endpoint: the name of its view in Flask.
        view: its view in Flask.
        answer: makes the answer to a request of its environment and body. Exceptions that it raises go to Flask's
            handlers, those that it returns to ``on_error`` of the fast path.
        admit: returns True if the ``Authorization`` header of a request is right; None: every request is admitted.
    """

    name: str
    path: str
    endpoint: str
    view: Callable[..., Any]
    answer: "Callable[[WSGIEnvironment, bytes], Answer | Exception]"
    admit: Callable[[str], bool] | None = None

    @cached_property
    def blueprints(self) -> Sequence[str]:
        """The names of its blueprints."""
        parts = self.endpoint.split(".")
        return [".".join(parts[:end]) for end in range(1, len(parts))]


class FastPath:
    """WSGI application in front of Flask's own.

    Args:
        app: the application.
        routes: answered here. One with a path beyond ASCII is left to Flask, which decodes paths.
        hooks: of the application.
        limit: maximum bytes of a body.
        begin: called before each request.
        on_error: answers an exception of Flask's current request.
        traces: counts and logs the requests.
    """

    def __init__(
        self,
        app: Flask,
        routes: Iterable[FastRoute],
        hooks: Hooks,
        *,
        limit: int,
        begin: Callable[[], None],
        on_error: Callable[[Exception], Response],
        traces: Traces,
    ) -> None:
        self._app = app
        self._flask = app.wsgi_app
        self._routes = {route.path: route for route in routes if route.path.isascii()}
        self._hooks = hooks
        self._limit = limit
        self._begin = begin
        self._on_error = on_error
        self._traces = traces

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answer one request."""
        started = time.perf_counter()
        route = self._routes.get(environ.get("PATH_INFO", ""))
        if route is None or environ["REQUEST_METHOD"] != "POST" or not _UNUSUAL.isdisjoint(environ):
            return self._flask(environ, start_response)
        size = simple_size(environ, self._limit)
        if not size or not self._hooks.are_own(route.endpoint, route.view, route.blueprints):
            return self._flask(environ, start_response)
        self._begin()
        is_admitted = route.admit is None or route.admit(environ.get("HTTP_AUTHORIZATION", ""))
        if (body := read_simple_body(environ, size) if is_admitted else b"") is None:
            return self._flask(environ, start_response)
        id = request_id(environ.get("HTTP_REQUEST_ID", ""))
        handle: Callable[[Exception], Any] = self._on_error
        try:
            answer = route.answer(environ, body) if is_admitted else UNAUTHORIZED
        except Exception as error:
            answer, handle = error, self._app.handle_user_exception
        if isinstance(answer, Exception):
            environ["wsgi.input"] = BytesIO(body)
            return self._answer_error(partial(handle, answer), environ, started, id)(environ, start_response)
        response = None if _is_simple(answer) else _make_response(answer, environ, id)
        sent = len(answer.body) if response is None else response.calculate_content_length() or 0
        self._traces.leave(
            route.name, "POST", route.path, answer.status, received=size, sent=sent, started=started, request_id=id
        )
        if response is not None:
            return response(environ, start_response)
        headers = [("Content-Type", answer.content_type), ("Content-Length", str(sent)), ("Request-Id", id)]
        start_response(_STATUS_LINES[answer.status], headers)
        return [answer.body]

    def _answer_error(self, make: Callable[[], Any], environ: "WSGIEnvironment", started: float, id: str) -> Response:
        """Return Flask's answer to an error of a request, with its traces."""
        add_peer_certificate(environ)
        with self._app.request_context(environ):
            g.started, g.request_id = started, id
            try:
                return self._app.finalize_request(make())
            except Exception as error:
                return self._app.handle_exception(error)


def _is_simple(answer: Answer) -> bool:
    """Return True if an answer has a length that Flask would send as it is, with no other headers."""
    return answer.status in _STATUS_LINES and not answer.headers and len(answer.body) < COMPRESS_FROM


def _make_response(answer: Answer, environ: "WSGIEnvironment", id: str) -> Response:
    response = compress(respond(answer), environ.get("HTTP_ACCEPT_ENCODING", ""))
    response.headers["Request-Id"] = id
    return response
