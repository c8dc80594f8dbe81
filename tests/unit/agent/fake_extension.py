"""A small extension made of the standard library only: it records what an agent sends, and answers as it is told."""

import json
import socketserver
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

Reply = tuple[int, bytes] | tuple[int, bytes, dict[str, str]]


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    connection: tuple

    @property
    def event(self) -> dict[str, Any]:
        return json.loads(self.body)


@dataclass
class FakeExtension:
    server: socketserver.BaseServer
    url: str
    index: Any
    """The registration document: bytes, or what JSON is made of."""
    etag: str | None = None
    credentials: str | None = None
    answer: Callable[[Request], Reply | None] = lambda request: (200, b"{}")
    """What a listener answers; None closes the connection without an answer."""
    index_reply: Callable[[int], Reply | None] = lambda number: None
    """Overrides the answer to the GET with this number, counted from 1."""
    requests: list[Request] = field(default_factory=list)

    @property
    def asked(self) -> list[Request]:
        return [request for request in self.requests if request.method == "GET"]

    @property
    def received(self) -> list[Request]:
        return [request for request in self.requests if request.method != "GET"]

    def listen(self, *listeners: dict[str, Any]) -> None:
        self.index = {"eventListeners": list(listeners)}

    def reply_to(self, request: Request) -> Reply | None:
        self.requests.append(request)
        if self.credentials and request.headers.get("authorization") != (
            "Basic " + b64encode(self.credentials.encode()).decode()
        ):
            return 401, b'{"title": "Wrong or missing credentials"}'
        if request.method != "GET":
            return self.answer(request)
        if override := self.index_reply(len(self.asked)):
            return override
        headers = {"ETag": self.etag} if self.etag else {}
        if self.etag and request.headers.get("if-none-match") == self.etag:
            return 304, b"", headers
        body = self.index if isinstance(self.index, bytes) else json.dumps(self.index).encode()
        return 200, body, headers


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 65536  # an answer in one piece, not one that waits for the acknowledgement of its first half
    extension: FakeExtension

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except OSError:  # the agent did not wait
            self.close_connection = True

    def respond(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        connection = (self.client_address, id(self.connection))
        reply = self.extension.reply_to(Request(self.command, self.path, headers, body, connection))
        if reply is None:
            self.close_connection = True
            return
        status, content, *more = reply
        self.send_response(status)
        for name, value in (more[0] if more else {}).items():
            self.send_header(name, value)
        if status != 304:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_DELETE = respond

    def log_message(self, *args: object) -> None:
        pass


class UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


ALL = {"method": "POST", "path": "/events/all", "listenTo": ["*"], "restrictTo": "leader"}
