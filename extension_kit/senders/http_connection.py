"""An HTTP connection to an address that was checked, on which nothing takes longer than its attempt may."""

import math
import socket
import ssl
import time
from http.client import HTTPConnection
from typing import Any

from urllib3.util import wait_for_read


class _Socket(socket.socket):
    ends_at = math.inf

    def recv_into(self, *arguments: Any, **options: Any) -> int:
        _arm(self)
        return super().recv_into(*arguments, **options)

    def sendall(self, *arguments: Any, **options: Any) -> None:
        _arm(self)
        return super().sendall(*arguments, **options)


class _TLSSocket(ssl.SSLSocket):
    ends_at = math.inf

    def recv_into(self, *arguments: Any, **options: Any) -> int:
        _arm(self)
        return super().recv_into(*arguments, **options)

    def send(self, *arguments: Any, **options: Any) -> int:  # sendall goes through it, too
        _arm(self)
        return super().send(*arguments, **options)


def _arm(sock: _Socket | _TLSSocket) -> None:
    """Let the next operation end in time.

    By itself a timeout begins anew with each operation: a receiver that sends a byte now and then would hold an attempt
    forever.
    """
    left = sock.ends_at - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    sock.settimeout(left)


class CheckedConnection(HTTPConnection):
    """A connection to one address, whatever the name in the URL leads to by now.

    It is the standard library's and not urllib3's, which writes the URL into the log where an answer's headers are
    malformed: receivers put secrets into URLs.

    Args:
        address: IPv4 or IPv6, as it was checked.
        port: where to.
        name: what the receiver's certificate has to be for; None for plain HTTP.
        context: verifies it; prepared by ``timed``.
    """

    def __init__(self, address: str, port: int, name: str | None, context: ssl.SSLContext) -> None:
        super().__init__(address, port)
        self.key = (address, port, name)
        self._name = name
        self._context = context
        self._ends_at = math.inf

    @property
    def is_usable(self) -> bool:
        """Whether it is open, and nothing has come in since the last answer, such as its end."""
        if self.sock is None or wait_for_read(self.sock, timeout=0):
            return False
        return not (isinstance(self.sock, _TLSSocket) and self.sock.pending())

    def end_at(self, moment: float) -> None:
        """Let everything that follows fail with ``TimeoutError`` from a moment of ``time.monotonic`` on."""
        self._ends_at = moment
        if isinstance(self.sock, _Socket | _TLSSocket):
            self.sock.ends_at = moment

    def connect(self) -> None:
        """Connect, and shake hands where there is TLS.

        Raises:
            OSError: there is no connection.
        """
        plain = _Socket(socket.AF_INET6 if ":" in self.host else socket.AF_INET, socket.SOCK_STREAM)
        try:
            plain.ends_at = self._ends_at
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            _arm(plain)
            plain.connect((self.host, self.port))
            if self._name is None:
                self.sock = plain
                return
            _arm(plain)  # the handshake as a whole is held to a socket's timeout
            self.sock = self._context.wrap_socket(plain, server_hostname=self._name)
            self.end_at(self._ends_at)
        except BaseException:
            plain.close()
            raise


def timed(context: ssl.SSLContext) -> ssl.SSLContext:
    """Prepare a context for ``CheckedConnection``."""
    context.sslsocket_class = _TLSSocket
    return context
