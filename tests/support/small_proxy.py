"""A small proxy of HTTP on the loopback interface: every name leads to this machine."""

import select
import socket
import ssl
from base64 import b64encode
from contextlib import closing
from http.client import HTTPConnection
from urllib.parse import urlsplit

from tests.support.receivers import TIMEOUT, Request, Server, reply


class SmallProxy:
    """Opens ways (CONNECT) and passes requests for whole URLs on.

    ``asked`` are method and target of the requests; ``credentials`` are wanted, as ``user:password``, if there are any.
    """

    def __init__(self, tls: ssl.SSLContext | None = None, credentials: str = "") -> None:
        self.asked: list[str] = []
        self._wanted = "Basic " + b64encode(credentials.encode()).decode() if credentials else ""
        self.server = Server(self._talk, tls)
        self.scheme = "https" if tls else "http"

    def url(self, credentials: str = "", host: str = "127.0.0.1") -> str:
        return f"{self.scheme}://{credentials and credentials + '@'}{host}:{self.server.port}"

    def _talk(self, connection: socket.socket) -> None:
        with connection.makefile("rb") as stream:
            while request := Request.read(stream, connection.getpeername()):
                self.asked.append(f"{request.method} {request.path}")
                given = request.headers.pop("proxy-authorization", "")
                if self._wanted and given != self._wanted:
                    connection.sendall(reply(407, given.encode()))
                elif request.method == "CONNECT":
                    port = urlsplit(f"//{request.path}").port
                    with socket.create_connection(("127.0.0.1", port)) as onward:
                        connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                        _relay(connection, onward)
                    return
                else:
                    connection.sendall(_passed_on(request))


def _passed_on(request: Request) -> bytes:
    parts = urlsplit(request.path)
    with closing(HTTPConnection("127.0.0.1", parts.port, timeout=TIMEOUT)) as onward:
        onward.request(request.method, parts.path, request.body, request.headers)
        answer = onward.getresponse()
        return reply(answer.status, answer.read())


def _relay(connection: socket.socket, onward: socket.socket) -> None:
    while True:
        pending = isinstance(connection, ssl.SSLSocket) and connection.pending()
        ready = [connection] if pending else select.select([connection, onward], [], [], TIMEOUT)[0]
        for one in ready:
            if not (data := one.recv(65536)):
                return
            (onward if one is connection else connection).sendall(data)
