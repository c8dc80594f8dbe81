"""Request bodies, read on the event loop: no thread waits for a client that sends."""

from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any

from extension_kit.events.answers import CLOSE, Answer, problem
from extension_kit.server.in_flight import Hold

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

HOLD = "extension_kit.hold"
"""Key in a request's scope of the ``Hold`` for its body; None if the body is not counted."""

NO_ROOM = problem(
    503,
    "Too much is being received",
    "The bodies that are being received or worked on fill their room; send this one again in a moment.",
    headers=(("Retry-After", "1"), CLOSE),
)

STOPPING = problem(
    503,
    "The server stops",
    "It has not got as far as this request in the time it had to stop; send it again in a moment.",
    headers=(("Retry-After", "1"), CLOSE),
)

FAILED = problem(500, "Internal Server Error", "The log of the extension says what went wrong.")

_FRAMING = (b"content-length", b"transfer-encoding")


class DisconnectedError(Exception):
    """The client left before its request was complete."""


class NoRoomError(Exception):
    """There is no room for the body, or it has lost its room."""


async def read(hold: Hold | None, size: int, receive: Receive, limit: int) -> bytes | None:
    """Read a request's body. Return None as soon as it exceeds the limit.

    The server reads and drops the rest of such a body, so that the client gets to see the answer.

    Args:
        hold: room of the body; None if it is not counted.
        size: Content-Length in bytes, 0 if there is none.
        receive: ASGI's receive.
        limit: bytes.

    Raises:
        DisconnectedError: the client left.
        NoRoomError: it does not fit beside the other bodies.
    """
    if hold is not None and hold.refused:
        raise NoRoomError
    if size > limit:
        return None
    chunks = []
    received = 0
    while True:
        message = await receive()
        if hold is not None and hold.refused:
            raise NoRoomError
        if message["type"] == "http.disconnect":
            raise DisconnectedError
        chunk = message.get("body", b"")
        received += len(chunk)
        if received > limit:
            return None
        chunks.append(chunk)
        if not message.get("more_body"):
            body = b"".join(chunks)
            if hold is not None:
                hold.complete()
                if not hold.decode(_decoded_size(body)):
                    raise NoRoomError
            return body


def _decoded_size(body: bytes) -> int:
    """Estimate the bytes of decoded JSON, which may be twenty times its encoded size."""
    return len(body) + 64 * (body.count(b",") + body.count(b"[")) + 256 * body.count(b"{")


class Buffered:
    """ASGI middleware that calls the application once the whole request body is received.

    A body over the limit is left out; its Content-Length stays, or replaces the chunked encoding, so that the
    application refuses it as too large. A WSGI application needs it to see chunked bodies at all.

    Args:
        application: answers the requests.
        limit: maximum bytes of a body.
    """

    def __init__(self, application: Application, limit: int) -> None:
        self._application = application
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request.

        Raises:
            DisconnectedError: the client left before its request was complete.
            NoRoomError: its body does not fit beside others.
        """
        framing = {name: value for name, value in scope["headers"] if name in _FRAMING}
        size = int(framing.get(b"content-length", b"0"))
        body = await read(scope.get(HOLD), size, receive, self._limit)
        if framing:
            size = max(size, self._limit + 1) if body is None else len(body)
            others = [header for header in scope["headers"] if header[0] not in _FRAMING]
            scope["headers"] = [*others, (b"content-length", b"%d" % size)]
        messages: list[Message] = [{"type": "http.request", "body": body or b"", "more_body": False}]

        async def ready() -> Message:
            return messages.pop() if messages else {"type": "http.disconnect"}

        await self._application(scope, ready, send)


def in_chunks(application: Callable[..., Any], size: int) -> Callable[..., Iterator[bytes]]:
    """Wrap a WSGI application so that its answers are handed over in chunks of at least ``size`` bytes.

    A thread that hands over an answer in small parts waits for a slow client.
    """

    def run(environ: object, start_response: object) -> Iterator[bytes]:
        answer = application(environ, start_response)
        try:
            parts: list[bytes] = []
            collected = 0
            for part in answer:
                parts.append(part)
                collected += len(part)
                if collected >= size:
                    yield b"".join(parts)
                    parts, collected = [], 0
            yield b"".join(parts)
        finally:
            if hasattr(answer, "close"):
                answer.close()

    return run


async def send_answer(answer: Answer, name: str, send: Send) -> None:
    """Send a complete answer; ``name`` is the id of the request."""
    await send(
        {
            "type": "http.response.start",
            "status": answer.status,
            "headers": [
                (b"content-type", answer.content_type.encode()),
                (b"content-length", b"%d" % len(answer.body)),
                (b"request-id", name.encode()),
                *((key.lower().encode(), value.encode()) for key, value in answer.headers),
            ],
        }
    )
    await send({"type": "http.response.body", "body": answer.body})
