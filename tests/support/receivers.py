"""Servers for senders to talk to, on real sockets, and fixtures that close them."""

import contextlib
import queue
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from ipaddress import ip_network

import pytest

from extension_kit.senders import Message
from extension_kit.senders.addresses import Addresses

LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
TIMEOUT = 20
"""Seconds after which a test gives up waiting."""


def local_addresses() -> Addresses:
    """Every name leads to this machine, which is allowed."""
    return Addresses(LOOPBACK, lambda host, port: ["127.0.0.1"])


def message(id: str = "msg_1", body: bytes = b'{"a": 1}', **more) -> Message:
    return Message(id, body, **more)


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    peer: tuple

    @classmethod
    def read(cls, stream, peer: tuple) -> "Request | None":
        line = stream.readline().decode()
        if not line:
            return None
        headers = {}
        while (header := stream.readline().decode().strip()) != "":
            name, value = header.split(":", 1)
            assert name.lower() not in headers, f"{name} is sent twice"
            headers[name.lower()] = value.strip()
        body = stream.read(int(headers.get("content-length", 0)))
        method, path, _ = line.split(" ", 2)
        return cls(method, path, headers, body, peer)


def reply(status: int = 200, body: bytes = b"", **headers: object) -> bytes:
    head = {"Content-Length": len(body)} | {name.replace("_", "-"): value for name, value in headers.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in head.items() if value is not None)
    return f"HTTP/1.1 {status} Whatever\r\n{lines}\r\n".encode() + body


class Server:
    """Accepts connections and has ``talk`` deal with each on a thread of its own.

    ``ended`` gets an item for each connection that has ended, and how: None, or the error.
    """

    def __init__(
        self,
        talk: Callable[[socket.socket], None],
        tls: ssl.SSLContext | None = None,
        backlog: int = 50,
        port: int = 0,
    ):
        self._talk = talk
        self._tls = tls
        self.connections: set[socket.socket] = set()
        self.ended: queue.Queue[Exception | None] = queue.Queue()
        self.accepted = 0
        self._socket = socket.create_server(("127.0.0.1", port), backlog=backlog)
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                self.accepted += 1
                self.connections.add(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        error = None
        try:
            connection.settimeout(TIMEOUT)
            if self._tls:
                self.connections.discard(connection)
                connection = self._tls.wrap_socket(connection, server_side=True)
                self.connections.add(connection)
            self._talk(connection)
        except Exception as caught:
            error = caught
        finally:
            self.connections.discard(connection)
            connection.close()
            self.ended.put(error)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for connection in list(self.connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


Answer = bytes | Callable[[socket.socket], None]


@dataclass
class Receiver:
    """A webhook's receiver: ``answer`` says, request by request, what is sent back.

    Bytes are sent and the connection is kept; a function is given the socket, which is closed afterwards.
    """

    tls: ssl.SSLContext | None = None
    answer: Callable[[Request], Answer] = lambda request: reply()
    requests: list[Request] = field(default_factory=list)
    port: int = 0

    def __post_init__(self) -> None:
        self.server = Server(self._talk, self.tls, port=self.port)
        self.scheme = "https" if self.tls else "http"
        self.port = self.server.port

    def url(self, path: str = "/", host: str = "receiver.test") -> str:
        return f"{self.scheme}://{host}:{self.port}{path}"

    def _talk(self, connection: socket.socket) -> None:
        with connection.makefile("rb") as stream:
            while (request := Request.read(stream, connection.getpeername())) is not None:
                self.requests.append(request)
                answer = self.answer(request)
                if callable(answer):
                    answer(connection)
                    return
                connection.sendall(answer)


def silence(connection: socket.socket) -> None:
    """Say nothing until the other end hangs up."""
    while connection.recv(65536):
        pass


def drip(text: bytes, piece: bytes = b"x") -> Callable[[socket.socket], None]:
    """Send a piece now and then, often enough for a timeout that begins anew with each, and never come to an end."""

    def send(connection: socket.socket) -> None:
        connection.sendall(text)
        gone = threading.Event()
        while not gone.wait(0.02):
            connection.sendall(piece)

    return send


@pytest.fixture
def receiver() -> Iterator[Callable[..., Receiver]]:
    """Start receivers: ``receiver(tls=..., answer=...)``."""
    started: list[Receiver] = []

    def start(**options) -> Receiver:
        started.append(Receiver(**options))
        return started[-1]

    yield start
    for one in started:
        one.server.close()


@pytest.fixture
def server() -> Iterator[Callable[..., Server]]:
    """Start servers that do as a function says: ``server(talk)``."""
    started: list[Server] = []

    def start(talk, **options) -> Server:
        started.append(Server(talk, **options))
        return started[-1]

    yield start
    for one in started:
        one.close()
