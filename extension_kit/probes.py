"""The health port of a server: one place that speaks for all its processes."""

import logging
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from socketserver import ThreadingMixIn
from typing import Any

from extension_kit.metrics_page import ReadBacklog, no_backlog, page

logger = logging.getLogger("extension_kit.server")

_MAX_CONNECTIONS = 128
_TIMEOUT = 1.0  # seconds for a probe's request: who is slower must not keep others out


class ProbesServer(ThreadingMixIn, HTTPServer):
    """Answers ``/health/liveness`` and ``/health/readiness`` with 200 or 503, and ``/metrics``, on plain HTTP.

    Args:
        address: host and port to bind.
        is_ready: asked at each readiness probe.
        read_backlog: asked each time metrics are.

    Raises:
        OSError: the port cannot be bound.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(
        self, address: tuple[str, int], is_ready: Callable[[], bool], read_backlog: ReadBacklog = no_backlog
    ) -> None:
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        self.is_ready = is_ready
        self.read_backlog = read_backlog
        self._room = threading.BoundedSemaphore(_MAX_CONNECTIONS)
        super().__init__(address, _Probe)

    def start(self) -> None:
        """Serve from a thread of its own until the process ends."""
        logger.info("Starting probes server on port %d, ready: false", self.server_port)
        threading.Thread(target=self.serve_forever, name="probes", daemon=True).start()

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._room.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        logger.debug("a probe was broken off", exc_info=True)


class _Probe(BaseHTTPRequestHandler):
    timeout = _TIMEOUT
    server: ProbesServer
    server_version = "extension-kit"
    sys_version = ""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/health/liveness":
            self._answer(200, b"")
        elif path == "/health/readiness":
            ready = self.server.is_ready()
            self._answer(200 if ready else 503, b"" if ready else b"Service Unavailable")
        elif path == "/metrics":
            status, content_type, body = page(self.server.read_backlog)
            self._answer(status, body, content_type)
        else:
            self._answer(404, b"Not Found")

    def _answer(self, status: int, body: bytes, content_type: str = "text/plain; charset=utf-8") -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        logger.debug(format, *args)
