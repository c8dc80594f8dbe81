"""Grouped routes on both edges: a Flask view for each, and the answers to errors where Flask does not serve them."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from queue import Empty, SimpleQueue
from typing import Any

from flask import Flask, Response, request
from werkzeug.datastructures import EnvironHeaders
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from extension_kit.deliveries.group_commit import GroupCommit
from extension_kit.errors import StoreSilent, StoreUnavailable
from extension_kit.events.answers import Answer
from extension_kit.observability import tracing
from extension_kit.observability.request_spans import request_span
from extension_kit.runtime.grouped_routes import GroupedRoute, ReceivedRequest
from extension_kit.web.fast_path import FastRoute
from extension_kit.web.peer_certificate import add_peer_certificate
from extension_kit.web.responses import respond
from extension_kit.web.traced_views import call_view

_TABLE = "extension_kit.grouped_routes"
_IN_RESPONSE = ("content-type", "content-length")


@dataclass(frozen=True)
class MountedRoute:
    """A grouped route, as a process serves it.

    Args:
        app: the application.
        route: the route.
        commit: writes its requests.
        make_error: makes the answer to an error of the current request.
        timeout: seconds after which a request is answered in any case.
    """

    app: Flask
    route: GroupedRoute[Any]
    commit: GroupCommit[Any, Answer | Exception]
    make_error: Callable[[Exception], Response]
    timeout: float

    @property
    def endpoint(self) -> str:
        """The name of its view in Flask."""
        return self.route.endpoint or f"grouped {self.route.name}".replace(".", "_")

    def add(self, item: Any, tell: Callable[[Answer | Exception], None]) -> None:
        """Queue an item for its commit; ``tell`` is called with its answer.

        Raises:
            StoreUnavailable: too many wait.
        """
        if not self.commit.add(item, tell):
            raise StoreUnavailable("Too many requests wait to be stored, or the server stops", 1.0)

    def too_late(self) -> StoreSilent:
        """Return the error for a request that was not stored in time."""
        return StoreSilent(f"The request was not stored within {self.timeout:g} s")

    def view(self) -> Response:
        """Answer the current request of Flask."""
        response: Response = call_view(self._respond)
        return response

    def _respond(self) -> Response:
        try:
            body = request.get_data()
        except HTTPException:
            if (refusal := self.route.admit(received_request())) is not None:
                return respond(refusal)
            raise
        answer = self._answer(received_request(body))
        # Not raised: requests share the error, and each raise would make its traceback longer.
        return respond(answer) if isinstance(answer, Answer) else self.make_error(answer)

    def answer_fast(self, environ: dict[str, Any], body: bytes) -> Answer | Exception:
        """Return the answer to a request on the fast path, or the error that prevents one."""
        add_peer_certificate(environ)
        if tracing.spans is None:
            return self._answer(_received_request(environ, environ["PATH_INFO"], body))
        parent = environ.get("HTTP_TRACEPARENT", ""), environ.get("HTTP_TRACESTATE", "")
        with request_span(self.route.method, self.route.path, *parent) as span:
            received = _received_request(environ, environ["PATH_INFO"], body)
            try:
                found = self._answer(received)
            except Exception as error:
                found = error
            answer = found if isinstance(found, Answer) else self.answer_error(received, found)
            span.status = answer.status
            return answer

    def _answer(self, received: ReceivedRequest) -> Answer | Exception:
        """Return the answer to a request, or the error that prevents one, after the commit."""
        item = self.route.parse(received)
        if isinstance(item, Answer):
            return item
        told: SimpleQueue[Answer | Exception] = SimpleQueue()
        self.add(item, told.put)
        try:
            return told.get(timeout=self.timeout)
        except Empty:
            return self.too_late()

    def answer_error(self, received: ReceivedRequest, error: Exception) -> Answer:
        """Return the answer to an error of a request that Flask does not serve."""
        with self.app.request_context(_environ(received)):
            response = self.make_error(error)
        headers = tuple((name, value) for name, value in response.headers if name.lower() not in _IN_RESPONSE)
        return Answer(response.status_code, response.get_data(), response.content_type or "", headers)

    def answer_too_large(self, received: ReceivedRequest) -> Answer:
        """Return the answer to a request with a body over the limit of the kit, which was left out."""
        try:
            refusal = self.route.admit(received)
        except Exception as error:
            return self.answer_error(received, error)
        return refusal or self.answer_error(received, RequestEntityTooLarge())


def add_grouped_route(mounted: MountedRoute) -> None:
    """Add a grouped route to its application."""
    route = mounted.route
    mounted.app.add_url_rule(
        route.path,
        mounted.endpoint,
        mounted.view,
        methods=[route.method],
        strict_slashes=not route.takes_slash,
        provide_automatic_options=False,
    )
    mounted.app.extensions.setdefault(_TABLE, {})[route.method, route.path] = mounted


def grouped_routes(app: Flask) -> Mapping[tuple[str, str], MountedRoute]:
    """Return the grouped routes of an application by method and path."""
    routes: Mapping[tuple[str, str], MountedRoute] = app.extensions.get(_TABLE, {})
    return routes


def fast_grouped_routes(app: Flask) -> Iterator[FastRoute]:
    """Return the grouped routes of an application for its fast path."""
    for (method, path), mounted in grouped_routes(app).items():
        if method == "POST":
            yield FastRoute(mounted.route.name, path, mounted.endpoint, mounted.view, mounted.answer_fast)


def received_request(body: bytes = b"") -> ReceivedRequest:
    """Return the current request of Flask, as the functions of grouped routes get it.

    Args:
        body: its body; empty: it is left out.
    """
    return _received_request(request.environ, request.path, body)


def _received_request(environ: dict[str, Any], path: str, body: bytes) -> ReceivedRequest:
    headers = {name.lower(): value for name, value in EnvironHeaders(environ)}
    query_string = environ.get("QUERY_STRING", "").encode("latin-1")
    trace_context = tracing.current_trace_context() or ""
    return ReceivedRequest(environ["REQUEST_METHOD"], path, query_string, headers, body, environ, trace_context)


def _environ(received: ReceivedRequest) -> dict[str, Any]:
    headers = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in received.headers.items()}
    return {
        **received.connection,
        **headers,
        "REQUEST_METHOD": received.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": received.path.encode().decode("latin-1"),
        "QUERY_STRING": received.query_string.decode("latin-1"),
        "CONTENT_TYPE": received.headers.get("content-type", ""),
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.url_scheme": "http",
        "wsgi.input": BytesIO(received.body),
    }
