"""HTTP/1.1 requests as uvicorn parses them, with bounds on their size; one of a connection is parsed at a time.

uvicorn and httptools limit neither the head of a request nor what a client sends ahead of the answers. The class
overrides methods that are private to uvicorn, so its version is pinned to a minor release.
"""

import json
import logging
from typing import Any

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from extension_kit.server import client_mistakes as mistakes
from extension_kit.server.in_flight import SMALL, Hold, Limits
from extension_kit.server.pipelined import PipelinedBytes, end_of_part
from extension_kit.server.request_bodies import HOLD

logger = logging.getLogger("extension_kit.web")

MAX_HEAD_BYTES = 64 * 1024
MAX_HEADERS = 200
_CHUNK_FRAME = 16  # approximate bytes of framing around each chunk of a body


class ParsingProtocol(HttpToolsProtocol):
    """Parses requests within bounds. Declines other protocols.

    * A head, and what frames the chunks of a body, is at most 64 KB; a body holds room in memory, or is dropped.
    * Trailers are dropped, and a body with another transfer coding than ``chunked`` is refused.
    * A pipelined request is not parsed until the answer before it is written.

    Args:
        limits: limits of the process.
        arguments: uvicorn's arguments for its protocol.
    """

    def __init__(self, *, limits: Limits, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._limits = limits
        self._reading_since: float | None = None
        """Loop time since when a request is being received."""
        self._around_body = 0
        self._declared = self._body_left = 0
        self._is_head_complete = self._is_chunked = False
        self._hold: Hold | None = None
        self._drops_body = False
        self._pipelined = PipelinedBytes(limits.in_flight)
        self._is_parsing = False  # a request has begun, and is not complete
        self._is_answering = False  # a request is complete, and its answer is not
        self._discards_input = False  # further bytes of the client are dropped
        self._stopping = False

    def data_received(self, data: bytes) -> None:
        if self._discards_input:
            return
        if self._is_answering or self._pipelined:
            self._read_later(data)
            return
        if self._reading_since is None:
            self._reading_since = self.loop.time()
        self._feed(data, 0)

    def _feed(self, data: bytes, start: int) -> None:
        """Parse received bytes up to the end of one request and keep the rest: each request becomes many objects."""
        while start < len(data):
            if self._is_answering:
                self._read_later(data, start)
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
                    mistakes.warn(mistakes.TLS_AT_PLAIN_PORT)
                else:
                    self.logger.warning("Invalid HTTP request received.")
                self.send_400_response("Invalid HTTP request received.")
                return

    def _read_later(self, data: bytes, start: int = 0) -> None:
        """Keep pipelined bytes, and pause reading until they have been parsed."""
        self._reading_since = None
        self.flow.pause_reading()
        if not self._pipelined.append(data, start):
            # A server may close the connection after any answer; clients repeat unanswered requests.
            self.end_after_answer()

    def end_after_answer(self) -> None:
        """Close the connection after the answer to the request in progress."""
        self.cycle.keep_alive = False

    def _resume_parsing(self) -> None:
        """Parse pipelined bytes once the answer before them is written."""
        if self._pipelined and not (self._discards_input or self.flow.write_paused or self._is_answering):
            self._reading_since = self.loop.time()
            self._feed(*self._pipelined.take())
            if not self._pipelined:
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

    def on_message_begin(self) -> None:
        self._is_parsing = True
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._is_head_complete:  # a trailer must not pass for a header (RFC 9110, 6.5.1)
            return
        name = name.lower()
        if name == b"content-length":
            self._declared = int(value)  # the parser has refused other texts
        elif name == b"transfer-encoding":
            if value.lower() != b"chunked":
                raise ValueError("the body has another transfer coding")
            self._is_chunked = True
        elif name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))
        if len(self.headers) > MAX_HEADERS:
            raise ValueError("too many headers")

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        self._is_head_complete = True
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
        self._is_parsing = self._is_chunked = self._drops_body = self._is_head_complete = False
        self._hold = self._reading_since = None
        super().on_message_complete()
        self._is_answering = not self.cycle.response_complete

    def on_response_complete(self) -> None:
        self._is_answering = bool(self.pipeline) and not self.cycle.more_body
        super().on_response_complete()
        if self._pipelined:
            self.flow.pause_reading()
            self.loop.call_soon(self._resume_parsing)

    def send_400_response(self, msg: str) -> None:
        too_many = self.headers is not None and len(self.headers) > MAX_HEADERS
        if too_many:
            self._refuse(431, "The request has too many headers")
        else:
            self._refuse(400, msg)

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
