"""HTTP/1.1 protocol of uvicorn with limits on each client's time, memory and connections."""

import asyncio
import json
import logging
from collections.abc import Callable
from math import inf
from operator import itemgetter
from typing import Any, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from extension_kit.server import client_mistakes as mistakes
from extension_kit.server.in_flight import SMALL, Hold, Limits
from extension_kit.server.request_bodies import HOLD
from extension_kit.server.sent_ahead import Ahead, end_of_part

logger = logging.getLogger("extension_kit.web")

MAX_HEAD_BYTES = 64 * 1024
MAX_HEADERS = 200
_LINGER = 0.5  # seconds in which a stopping server still takes a request on its way to an idle connection
_PATIENCE = 5.0  # seconds a client may be idle when another needs its connection
_FAREWELL = 2.0  # minimum seconds in which a client that still sends can read the answer that ends its connection
_CHUNK_FRAME = 16  # approximate bytes of framing around each chunk of a body


class _Joining:
    """A transport that sends two consecutive writes, a head and a body, as one.

    A single write is sent in the loop's next iteration. Writes to a client that has left are dropped: uvloop raises an
    error for them.

    Args:
        transport: the transport.
        loop: its event loop.
        on_close: closes the transport instead of ``transport.close``.
    """

    __slots__ = ("_closed", "_held", "_loop", "_on_close", "_transport")

    def __init__(
        self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, on_close: Callable[[], None] | None = None
    ) -> None:
        self._transport = transport
        self._loop = loop
        self._on_close = on_close or transport.close
        self._held = b""
        self._closed = False

    def write(self, data: bytes) -> None:
        if self._held:
            held, self._held = self._held, b""
            self._pass_on(held + data)
        elif data:
            self._held = data
            self._loop.call_soon(self._send)

    def close(self) -> None:
        if not self._closed:
            self._send()
            self._closed = True
            self._on_close()

    def is_closing(self) -> bool:
        return self._closed or self._transport.is_closing()

    def _send(self) -> None:
        if self._held:
            held, self._held = self._held, b""
            self._pass_on(held)

    def _pass_on(self, data: bytes) -> None:
        if not self._closed and not self._transport.is_closing():
            self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class LimitedHttpProtocol(HttpToolsProtocol):
    """HTTP/1.1 with bounds on time, memory and connections of clients. Declines other protocols.

    * A client has a time limit to send a request, head and body, from its first byte on, or from the opening of the
      connection for the first request. uvicorn itself times only the pause between requests. There is a limit for
      taking an answer, too.
    * A pipelined request is not parsed until the answer before it is written.
    * A connection that ends while its client still sends is read from for a while: closing it at once would discard
      the answer on its way.

    Args:
        limits: limits of the process.
        arguments: uvicorn's arguments for its protocol.
    """

    def __init__(self, *, limits: Limits, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._limits = limits
        self._direct: asyncio.Transport
        self._reading_since: float | None = None
        self._writing_since: float | None = None
        self._around_body = 0
        self._declared = self._body_left = 0
        self._is_chunked = False
        self._hold: Hold | None = None
        self._drops_body = False
        self._ahead = Ahead(limits.in_flight)
        self._is_answering = False  # a request is complete, and its answer is not
        self._ends = False  # further bytes of the client are dropped
        self._stopping = False
        self._watch: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._direct = transport
        super().connection_made(cast(asyncio.Transport, _Joining(transport, self.loop, self._close)))
        self._reading_since = self.loop.time()
        if len(self.connections) > self._limits.connections and not self._take_place():
            self._refuse(503, "Too many connections are open", b"retry-after: 1\r\n")
            return
        self._look()

    def _take_place(self) -> bool:
        """End the connection that is idle longest. Return False if none has been idle long enough."""
        since, oldest = min(
            ((other.waits_since(), other) for other in self.connections if isinstance(other, LimitedHttpProtocol)),
            key=itemgetter(0),
        )
        if since > self.loop.time() - _PATIENCE:
            return False
        logger.debug("Idle connection closed to admit a new one")
        oldest.cut_off()
        return True

    def waits_since(self) -> float:
        """Return the loop time since when this connection waits for its client; infinite while it is answered."""
        if self._writing_since is not None:
            return self._writing_since
        if self._reading_since is not None:
            return self._reading_since
        timer = self.timeout_keep_alive_task
        return inf if timer is None or self._is_answering else timer.when() - self.timeout_keep_alive

    def connection_lost(self, exc: Exception | None) -> None:
        if self._watch is not None:
            self._watch.cancel()
        self._ahead.forget()
        self._limits.unsent.remove(self.cut_off)
        if self.cycle is not None and not self.cycle.response_complete:
            logger.debug("Client disconnected before its answer was sent")
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._ends:
            return
        if self._is_answering or self._ahead:
            self._keep(data)
            return
        if self._reading_since is None:
            self._reading_since = self.loop.time()
        self._take(data, 0)

    def _take(self, data: bytes, start: int) -> None:
        """Parse received bytes up to the end of one request and keep the rest: each request becomes many objects."""
        while start < len(data):
            if self._is_answering:
                self._keep(data, start)
                return
            end = start + self._body_left if self._body_left else end_of_part(data, start)
            part = data[start:end]
            start = end
            # Everything but the body: head, frames of chunks, trailers. Counted here because the parser reports a
            # header only when it is complete. Body bytes in the same read count too, hence one read more.
            self._around_body += len(part)
            if self._around_body > MAX_HEAD_BYTES + len(part):
                self._refuse(431, "The head of the request is too large")
                return
            self._unset_keepalive_if_required()
            try:
                self._parse(part)
            except (HttpParserError, HttpParserUpgrade):
                if mistakes.begins_tls(part):
                    mistakes.say(mistakes.TLS_AT_PLAIN_PORT)
                else:
                    self.logger.warning("Invalid HTTP request received.")
                self.send_400_response("Invalid HTTP request received.")
                return

    def _keep(self, data: bytes, start: int = 0) -> None:
        """Keep pipelined bytes, and pause reading until they have been parsed."""
        self._reading_since = None
        self.flow.pause_reading()
        if not self._ahead.keep(data, start):
            # A server may close the connection after any answer; clients repeat unanswered requests.
            self.cycle.keep_alive = False

    def _go_on(self) -> None:
        """Parse pipelined bytes once the answer before them is written."""
        if self._ahead and not (self._ends or self.flow.write_paused or self._is_answering):
            self._reading_since = self.loop.time()
            self._take(*self._ahead.take())
            if not self._ahead:
                self.flow.resume_reading()

    def _parse(self, data: bytes) -> None:
        """Parse bytes of a request.

        A request may offer to upgrade to another protocol, as those of Java's HTTP clients do. Declining leaves an
        ordinary request (RFC 9110, 7.8), but the parser has taken its body for the other protocol by then. So the
        request is parsed again, without the offer. CONNECT is refused by that.
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
        name = name.lower()
        if name == b"content-length":
            self._declared = int(value)  # the parser has refused other texts
        elif name == b"transfer-encoding":
            self._is_chunked = True
        elif name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))
        if len(self.headers) > MAX_HEADERS:
            raise ValueError("too many headers")

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        self._body_left = self._declared
        if self._declared or self._is_chunked:
            self._hold_room()
        super().on_headers_complete()
        if self._stopping and self.cycle is not None:
            self.cycle.keep_alive = False

    def _hold_room(self) -> None:
        """Hold room for the announced body; the application releases it."""
        self._drops_body = self._declared > self._limits.body
        if self._is_chunked or (self._declared > SMALL and not self._drops_body):
            self._hold = self._limits.in_flight.hold(self._declared, self._drop_body)
            self.scope[HOLD] = self._hold  # type: ignore[literal-required]

    def _drop_body(self) -> None:
        """Free the received part of a body that has lost its room, and wake the application waiting for it."""
        self.cycle.body = bytearray()
        self.cycle.message_event.set()

    def on_body(self, body: bytes) -> None:
        size = len(body)
        self._around_body = max(0, self._around_body - size - _CHUNK_FRAME)
        self._body_left = max(0, self._body_left - size)
        if not self._drops_body and (self._hold is None or self._hold.take(size)):
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        self._around_body = self._declared = 0
        self._is_chunked = self._drops_body = False
        self._hold = self._reading_since = None
        super().on_message_complete()
        self._is_answering = not self.cycle.response_complete

    def on_response_complete(self) -> None:
        self._is_answering = bool(self.pipeline) and not self.cycle.more_body
        super().on_response_complete()
        if self._ahead:
            self.flow.pause_reading()
            self.loop.call_soon(self._go_on)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._writing_since = self.loop.time()
        self._limits.unsent.add(self.cut_off, self._direct.get_write_buffer_size())

    def resume_writing(self) -> None:
        super().resume_writing()
        self._writing_since = self.loop.time() if self.transport.is_closing() else None
        self._limits.unsent.remove(self.cut_off)
        if self._ahead:
            self.loop.call_soon(self._go_on)

    def send_400_response(self, msg: str) -> None:
        too_many = self.headers is not None and len(self.headers) > MAX_HEADERS
        if too_many:
            self._refuse(431, "The request has too many headers")
        else:
            self._refuse(400, msg)

    def shutdown(self) -> None:
        self._stopping = True
        if self.transport.is_closing():
            self.loop.call_later(_FAREWELL, self.cut_off)
        elif self.cycle is None or self.cycle.response_complete:
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
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()

    def _close(self) -> None:
        """Close the connection once its client has taken the answer and stopped sending."""
        self._ends = True
        now = self.loop.time()
        if self._direct.is_closing():
            return
        if self._reading_since is None and not self._ahead and not self.flow.read_paused:
            self._writing_since = now
            self._direct.close()
            self._look()
            return
        self._ahead.forget()
        if self._direct.can_write_eof():
            self._direct.write_eof()
        self.flow.resume_reading()
        since = now if self._reading_since is None else self._reading_since
        patience = _FAREWELL
        if self._watch is not None:
            self._watch.cancel()
            patience = max(patience, since + self._limits.read_timeout - now)
        self._watch = self.loop.call_later(patience, self.cut_off)

    def _look(self) -> None:
        """Check the time limits of the client. One timer per connection, instead of one per request, is cheap."""
        if self._watch is not None:
            self._watch.cancel()
        now = self.loop.time()
        wait = min(self._limits.read_timeout, self._limits.write_timeout)
        if self._writing_since is not None:
            left = self._limits.write_timeout - (now - self._writing_since)
            if left <= 0:
                logger.debug("Connection aborted: client did not read its answer in time")
                self.cut_off()
                return
            wait = min(wait, left)
        if self._reading_since is not None and not self.transport.is_closing():
            left = self._limits.read_timeout - (now - self._reading_since)
            if left <= 0:
                self._give_up()
                return
            wait = min(wait, left)
        self._watch = self.loop.call_later(max(wait, 0.1), self._look)

    def _give_up(self) -> None:
        if self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete:
            self.cut_off()
        else:
            self._refuse(408, "The request did not arrive in time")

    def cut_off(self) -> None:
        """Abort the connection and drop unsent bytes."""
        self._direct.abort()
