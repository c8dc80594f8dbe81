"""Exchange: one request on the event loop and its answer, with the traces that it leaves."""

import time
from typing import Any

from extension_kit.events.answers import Answer, compressed
from extension_kit.events.request_headers import request_id
from extension_kit.observability import metrics
from extension_kit.observability.access_log import AccessLog
from extension_kit.server.request_bodies import HOLD, Receive, Scope, Send, read, send_answer


class Exchange:
    """One request, and its answer.

    Args:
        scope: ASGI's, of the request.
        receive: ASGI's.

    Attributes:
        headers: by name, in bytes; of a repeated header the last.
        body: empty until ``read``.
    """

    __slots__ = ("_receive", "_started", "body", "headers", "scope")

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._started = time.perf_counter()
        self._receive = receive
        self.scope = scope
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.body = b""

    def header(self, name: bytes) -> str:
        """Return a header, or ""."""
        return self.headers.get(name, b"").decode("latin-1")

    async def read(self, limit: int) -> bool:
        """Read the body. Return False if it is over the limit, in bytes.

        Raises:
            DisconnectedError: the client left.
            NoRoomError: it does not fit beside the other bodies.
        """
        size = int(self.headers.get(b"content-length", b"0"))
        body = await read(self.scope.get(HOLD), size, self._receive, limit)
        self.body = body or b""
        return body is not None

    def keep_room(self) -> Any:
        """Return the room of the body, which is no longer released with the answer; None if it is not counted."""
        return self.scope.pop(HOLD, None)

    async def end(self, answer: Answer, name: str, send: Send, access_log: AccessLog) -> None:
        """Send the answer, count it under a name, and log it."""
        answer = compressed(answer, self.header(b"accept-encoding"))
        id = request_id(self.header(b"request-id"))
        metrics.answered(name, answer.status, time.perf_counter() - self._started)
        await send_answer(answer, id, send)
        access_log.write(
            self.scope["method"],
            name.rpartition(" ")[2],
            answer.status,
            len(self.body),
            len(answer.body),
            (time.perf_counter() - self._started) * 1000,
            id,
        )
