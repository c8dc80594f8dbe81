"""uvicorn's HTTP/1.1 protocol with the limits a server beside production experiments needs."""

import asyncio
import json
from typing import Any, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from extension_kit import mistakes

MAX_HEAD_BYTES = 64 * 1024
MAX_HEADERS = 200
_LINGER = 0.5  # seconds in which a request on its way to an idle connection is still taken, while the server stops
_CHUNK_FRAME = 16  # bytes about, around each chunk of a body


class _Joining:
    """A transport that sends what is written in two parts, a head and a body, as one.

    A part that is not followed by another at once goes by itself, when the loop comes to it.
    """

    __slots__ = ("_held", "_loop", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held = b""

    def write(self, data: bytes) -> None:
        if self._held:
            held, self._held = self._held, b""
            self._transport.write(held + data)
        elif data:
            self._held = data
            self._loop.call_soon(self._send)

    def close(self) -> None:
        self._send()
        self._transport.close()

    def _send(self) -> None:
        if self._held:
            held, self._held = self._held, b""
            self._transport.write(held)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class LimitedHttpProtocol(HttpToolsProtocol):
    """Bounds what clients may take: time for a request, bytes around its body, connections; declines other protocols.

    A client has ``read_timeout`` seconds to send a request, head and body, from its first byte on, or from the opening
    of the connection for the first one. uvicorn itself times only the pause between requests.

    Args:
        read_timeout: seconds.
        max_connections: of this process; one more is answered 503 and closed.
        arguments: what uvicorn hands to its protocol.
    """

    def __init__(self, *, read_timeout: float, max_connections: int, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._read_timeout = read_timeout
        self._reading_since: float | None = None
        self._max_connections = max_connections
        self._around_body = 0
        self._stopping = False
        self._watch: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(cast(asyncio.Transport, _Joining(transport, self.loop)))
        self._reading_since = self.loop.time()
        if len(self.connections) > self._max_connections:
            self._refuse(503, "Too many connections are open", b"retry-after: 1\r\n")
            return
        self._watch = self.loop.call_later(self._read_timeout, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._watch is not None:
            self._watch.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._reading_since is None:
            self._reading_since = self.loop.time()
        # Everything but the body: head, frames of chunks, trailers. Counted here because the parser reports a header
        # only when it is complete. What follows the head in the same read counts too, hence one read more is allowed.
        self._around_body += len(data)
        if self._around_body > MAX_HEAD_BYTES + len(data):
            self._refuse(431, "The head of the request is too large")
            return
        self._unset_keepalive_if_required()
        try:
            self._parse(data)
        except (HttpParserError, HttpParserUpgrade):
            if mistakes.begins_tls(data):
                mistakes.say(mistakes.TLS_AT_PLAIN_PORT)
            else:
                self.logger.warning("Invalid HTTP request received.")
            self.send_400_response("Invalid HTTP request received.")

    def _parse(self, data: bytes) -> None:
        """Parse what came.

        A request may offer to go on in another protocol, as those of Java's HTTP clients do. Declining that leaves a
        request like any other (RFC 9110, 7.8), but the parser has taken its body for the other protocol by then. So the
        request is parsed once more, without the offer. CONNECT, which is more than an offer, is refused by that.
        """
        try:
            self.parser.feed_data(data)
        except HttpParserUpgrade as offer:
            version = self.parser.get_http_version().encode()
            head = [b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, version)]
            head += (b"%s: %s" % header for header in self.headers if header[0] != b"upgrade")
            self.parser = HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
            self.parser.feed_data(b"\r\n".join([*head, b"", data[offer.args[0] :]]))

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        if len(self.headers) > MAX_HEADERS:
            raise ValueError("too many headers")

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        super().on_headers_complete()
        if self._stopping and self.cycle is not None:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        self._around_body = max(0, self._around_body - len(body) - _CHUNK_FRAME)
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        self._around_body = 0
        self._reading_since = None
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        too_many = self.headers is not None and len(self.headers) > MAX_HEADERS
        if too_many:
            self._refuse(431, "The request has too many headers")
        else:
            self._refuse(400, msg)

    def shutdown(self) -> None:
        self._stopping = True
        if self.cycle is None or self.cycle.response_complete:
            self.loop.call_later(_LINGER, super().shutdown)
        else:
            super().shutdown()

    def _refuse(self, status: int, title: str, headers: bytes = b"") -> None:
        if self.transport.is_closing():
            return
        body = json.dumps({"title": title}).encode()
        self.transport.write(
            STATUS_LINE[status]
            + b"content-type: application/json\r\nconnection: close\r\n"
            + headers
            + b"content-length: %d\r\n\r\n" % len(body)
            + body
        )
        self.transport.close()

    def _look(self) -> None:
        """See whether the client is too slow; one timer a connection, instead of one a request, keeps this cheap."""
        wait = self._read_timeout
        if self._reading_since is not None:
            wait -= self.loop.time() - self._reading_since
            if wait <= 0:
                self._give_up()
                return
        self._watch = self.loop.call_later(max(wait, 0.1), self._look)

    def _give_up(self) -> None:
        if self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete:
            self.transport.close()
        else:
            self._refuse(408, "The request did not arrive in time")
