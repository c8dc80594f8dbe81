"""Health port: liveness, readiness and metrics of all processes of a server, on plain HTTP.

One thread reads all requests, so that slow clients cost no more than their sockets. A request must be complete in time,
and above the limit of connections the oldest are closed, so that well-behaved clients are always answered. This thread
answers liveness itself; readiness and metrics may block and have threads of their own.
"""

import asyncio
import logging
import os
import queue
import resource
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import NamedTuple

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from extension_kit.observability.metrics_page import ReadBacklog, lateness, no_backlog, page
from extension_kit.server import client_mistakes as mistakes

logger = logging.getLogger("extension_kit.server")

# Each is an open file; many machines allow a process 1024 of them, some 256.
_FILES = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
_MAX_CONNECTIONS = 400 if _FILES == resource.RLIM_INFINITY else min(400, _FILES // 2)
_MAX_REQUEST_BYTES = 16 * 1024
_READ_TIMEOUT = 2.0  # seconds from opening the connection to the complete request
_ANSWER_TIMEOUT = 10.0  # seconds for computing the answer, and again for sending it
_READINESS_THREADS, _METRICS_THREADS = 4, 2

_STATUS_LINES = {
    200: b"HTTP/1.1 200 OK",
    400: b"HTTP/1.1 400 Bad Request",
    404: b"HTTP/1.1 404 Not Found",
    405: b"HTTP/1.1 405 Method Not Allowed\r\nAllow: GET",
    408: b"HTTP/1.1 408 Request Timeout",
    500: b"HTTP/1.1 500 Internal Server Error",
    503: b"HTTP/1.1 503 Service Unavailable",
}


ReadReasons = Callable[[], Sequence[str]]
"""Returns the reasons why functions are not ready, a line for each, at once."""


class _Answer(NamedTuple):
    status: int
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"


_BUSY = _Answer(503, b"Service Unavailable")


def _always() -> bool:
    return True


class HealthPort:
    """Answers ``/health/liveness`` and ``/health/readiness`` with 200 or 503, and ``/metrics``, on plain HTTP.

    ``/health/readiness/accepting`` is 503 only if no events, or no deliveries of a worker by itself, can be written.

    Args:
        sockets: listening sockets, all at one port.
        families: description of their addresses for the log.
        is_ready: called for each readiness probe.
        read_backlog: called for each request of ``/metrics``.
        reasons: returns the reasons why functions are not ready, a line for each, for readiness probes.
    """

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        families: str,
        is_ready: Callable[[], bool],
        read_backlog: ReadBacklog = no_backlog,
        reasons: ReadReasons = tuple,
    ) -> None:
        self.port: int = sockets[0].getsockname()[1]
        self.connections: dict[_Connection, None] = {}
        """Open connections, oldest first."""
        self._sockets = sockets
        self._families = families
        self._is_ready = is_ready
        self._read_backlog = read_backlog
        self._reasons = reasons
        self._is_alive = _always
        self._loop = asyncio.SelectorEventLoop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="health-port", daemon=True)
        self._waiting: dict[str, queue.Queue[_Connection]] = {}

    def start(self, is_alive: Callable[[], bool] = _always) -> None:
        """Start the threads that serve until the process ends.

        Args:
            is_alive: called for each liveness probe; it must not wait for anything.
        """
        self._is_alive = is_alive
        logger.info("Starting probes server on port %d (%s), ready: false", self.port, self._families)
        self._answer_from_threads("/health/readiness", self._readiness, _READINESS_THREADS)
        self._answer_from_threads("/health/readiness/accepting", self._accepting, _READINESS_THREADS)
        self._answer_from_threads("/metrics", self._metrics, _METRICS_THREADS)
        for each in self._sockets:
            listening = self._loop.create_server(
                lambda: _Connection(self, self._loop), sock=each, backlog=_MAX_CONNECTIONS
            )
            self._loop.run_until_complete(listening)
        self._thread.start()

    def stop(self) -> None:
        """Stop serving and close everything."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_ANSWER_TIMEOUT)
        if accepting := asyncio.all_tasks(self._loop):
            self._loop.run_until_complete(asyncio.wait(accepting, timeout=_ANSWER_TIMEOUT))
        for connection in list(self.connections):
            connection.abort()
        self._loop.run_until_complete(asyncio.sleep(0))
        for each in self._sockets:
            each.close()
        self._loop.close()

    def close_after_fork(self) -> None:
        """Close all sockets in a forked child of the serving process."""
        for each in self._sockets:
            each.close()
        for connection in list(self.connections):
            connection.close_after_fork()

    def handle(self, path: str, connection: "_Connection") -> None:
        """Answer a connection's request for a path, at once or from a thread."""
        if path == "/health/liveness":
            connection.answer(_Answer(200) if self._is_alive() else _BUSY)
        elif path in self._waiting:
            try:
                self._waiting[path].put_nowait(connection)
            except queue.Full:
                connection.answer(_BUSY)
        else:
            connection.answer(_Answer(404, b"Not Found"))

    def _answer_from_threads(self, path: str, compute: Callable[[], _Answer], threads: int) -> None:
        waiting = self._waiting[path] = queue.Queue(_MAX_CONNECTIONS)

        def work() -> None:
            while True:
                connection = waiting.get()
                if connection not in self.connections:
                    continue  # the client has disconnected
                try:
                    answer = compute()
                except Exception:
                    logger.exception("Request for %s failed", path)
                    answer = _Answer(500, b"Internal Server Error")
                with suppress(RuntimeError):  # the server has been stopped
                    self._loop.call_soon_threadsafe(connection.answer, answer)

        for _ in range(threads):
            threading.Thread(target=work, name="health-port", daemon=True).start()

    def _readiness(self) -> _Answer:
        answer = self._accepting()
        if answer.status == 200 and (reasons := self._reasons()):
            return _Answer(503, "\n".join(reasons).encode())
        return answer

    def _accepting(self) -> _Answer:
        if not self._is_ready():
            return _BUSY
        return _Answer(200, lateness(self._read_backlog(), datetime.now(UTC)).encode())

    def _metrics(self) -> _Answer:
        status, content_type, body = page(self._read_backlog)
        return _Answer(status, body, content_type)


class _Connection(asyncio.Protocol):
    """A client's connection, for one request."""

    def __init__(self, server: HealthPort, loop: asyncio.AbstractEventLoop) -> None:
        self._server = server
        self._loop = loop
        self._parser = HttpRequestParser(self)
        self._received = 0
        self._url = b""
        self._has_request = False
        self._answered = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        self._socket = transport.get_extra_info("socket")
        connections = self._server.connections
        if len(connections) >= _MAX_CONNECTIONS:
            next(iter(connections)).abort()
        connections[self] = None
        self._timer = self._loop.call_later(_READ_TIMEOUT, self.answer, _Answer(408, b"Request Timeout"))

    def data_received(self, data: bytes) -> None:
        if self._has_request or self._answered:
            return
        if not self._received and mistakes.begins_tls(data):
            mistakes.warn(mistakes.TLS_AT_HEALTH_PORT)
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            return  # the answer declines the upgrade
        except HttpParserError:
            self.answer(_Answer(400, b"Bad Request"))
        if self._received > _MAX_REQUEST_BYTES and not self._has_request:
            self.answer(_Answer(400, b"Bad Request"))

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_headers_complete(self) -> None:
        self._has_request = True
        if self._parser.get_method() != b"GET":
            self.answer(_Answer(405, b"Method Not Allowed"))
            return
        self._set_timer(_ANSWER_TIMEOUT, self.answer, _BUSY)
        self._server.handle(self._url.partition(b"?")[0].decode("latin-1"), self)

    def answer(self, answer: _Answer) -> None:
        """Send the answer, unless one has been sent, and close."""
        if self._answered or self._transport.is_closing():
            return
        self._answered = True
        head = b"%b\r\nContent-Type: %b\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % (
            _STATUS_LINES[answer.status],
            answer.content_type.encode(),
            len(answer.body),
        )
        self._transport.write(head + answer.body)
        self._set_timer(_ANSWER_TIMEOUT, self.abort)
        self._transport.close()

    def abort(self) -> None:
        """Abort the connection."""
        self._server.connections.pop(self, None)
        self._transport.abort()

    def close_after_fork(self) -> None:
        """Close the socket in a forked child without using the event loop, shared with its parent."""
        with suppress(OSError):
            os.close(self._socket.fileno())

    def connection_lost(self, error: Exception | None) -> None:
        self._timer.cancel()
        self._server.connections.pop(self, None)
        with suppress(OSError):  # closing alone does not end the connection while a forked process has the socket, too
            self._socket.shutdown(socket.SHUT_RDWR)

    def _set_timer(self, seconds: float, then: Callable[..., None], *arguments: object) -> None:
        self._timer.cancel()
        self._timer = self._loop.call_later(seconds, then, *arguments)
