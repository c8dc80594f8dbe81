"""Requests to a Flask application: complete ones, on threads, so that no thread waits for a client."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

from a2wsgi import WSGIMiddleware

from extension_kit.events.request_headers import request_id
from extension_kit.server.request_bodies import (
    NO_ROOM,
    STOPPING,
    Application,
    Buffered,
    Message,
    NoRoomError,
    Receive,
    Scope,
    Send,
    in_chunks,
    send_answer,
)

_CHUNK, _CHUNKS = 1024**2, 3  # bytes of a chunk of a streamed answer, and chunks queued for a client


class FlaskRequests:
    """ASGI application that hands requests to a Flask application.

    Args:
        app: the application.
        threads: number of threads that run its views.
        limit: maximum bytes of a body.
    """

    def __init__(self, app: Callable[..., Any], threads: int, limit: int) -> None:
        # Both sides are typed, each with its own names for the same dictionaries.
        middleware = WSGIMiddleware(cast(Any, in_chunks(app, _CHUNK)), workers=threads, send_queue_size=_CHUNKS)
        self._application = Buffered(cast(Application, middleware), limit)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request.

        Raises:
            DisconnectedError: the client left before its request was complete.
        """
        started = False

        async def send_noting_start(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._application(scope, receive, send_noting_start)
        except NoRoomError:
            answer = NO_ROOM
        except asyncio.CancelledError:  # at the end of the grace period
            if started:
                raise
            answer = STOPPING
        else:
            return
        headers = dict(scope["headers"])
        await send_answer(answer, request_id(headers.get(b"request-id", b"").decode("latin-1")), send)
