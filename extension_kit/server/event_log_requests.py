"""Requests to the event log, before Flask sees them: a bound on their number, and headers that cannot be mistaken."""

from collections.abc import Callable
from typing import Any

from extension_kit.event_log.access import THREADS
from extension_kit.event_log.app import MOST_BODY_BYTES
from extension_kit.events.answers import problem
from extension_kit.events.request_headers import request_id
from extension_kit.server.flask_requests import FlaskRequests
from extension_kit.server.request_bodies import HOLD, DisconnectedError, Receive, Scope, Send, send_answer

_MOST_REQUESTS = 8 * THREADS
"""Maximum number of requests that have a thread, or wait for one."""

_BUSY = problem(
    503, "Too many requests", "The event log is busy; try again in a moment.", headers=(("Retry-After", "1"),)
)


class EventLogRequests:
    """ASGI application of the event log.

    WSGI does not tell the header ``X_Forwarded_User`` from ``X-Forwarded-User``, which a trusted proxy sets, nor two of
    one name from one. So headers with an underscore are dropped, and a request with two of the trusted header is
    refused.

    Args:
        app: the Flask application.
        trusted_header: name of the header; empty: there is none.
    """

    def __init__(self, app: Callable[..., Any], trusted_header: str) -> None:
        self._flask = FlaskRequests(app, THREADS, MOST_BODY_BYTES)
        self._trusted_header = trusted_header.lower().encode()
        self._twice = problem(400, "Bad Request", f"The header {trusted_header} occurs twice.")
        self._requests = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        scope["headers"] = headers = [header for header in scope["headers"] if b"_" not in header[0]]
        id = request_id(dict(headers).get(b"request-id", b"").decode("latin-1"))
        self._requests += 1
        try:
            if self._requests > _MOST_REQUESTS:
                await send_answer(_BUSY, id, send)
            elif [name for name, _ in headers].count(self._trusted_header) > 1:
                await send_answer(self._twice, id, send)
            else:
                await self._flask(scope, receive, send)
        except DisconnectedError:
            return
        finally:
            self._requests -= 1
            if (hold := scope.get(HOLD)) is not None:
                hold.release()
