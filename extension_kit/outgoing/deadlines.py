"""Sockets with one deadline for all their operations.

A plain timeout restarts with every operation, so a peer that sends a byte now and then could hold a client forever.
"""

import math
import socket
import ssl
import time
from typing import Any, cast


class Deadline:
    """A movable moment of ``time.monotonic``, shared by all sockets that hold it.

    Args:
        at: the moment; by default the deadline never passes.
    """

    def __init__(self, at: float = math.inf) -> None:
        self.at = at

    def left(self) -> float:
        """Return the seconds until the deadline.

        Raises:
            TimeoutError: the deadline has passed.
        """
        if (left := self.at - time.monotonic()) <= 0:
            raise TimeoutError("timed out")
        return left


class TimedSocket(socket.socket):
    """A socket with a deadline: operations raise ``TimeoutError`` at it, or at the own timeout if that is earlier."""

    deadline = Deadline()
    _own_timeout: float | None = None

    def settimeout(self, value: float | None) -> None:
        self._own_timeout = value
        super().settimeout(value)

    def gettimeout(self) -> float | None:
        return self._own_timeout

    def arm(self) -> None:
        """Limit the next operation to the time until the deadline.

        Raises:
            TimeoutError: the deadline has passed.
        """
        limits = [self._own_timeout] if self._own_timeout is not None else []
        if self.deadline.at != math.inf:
            limits.append(self.deadline.left())
        super().settimeout(min(limits, default=None))

    def recv(self, *arguments: Any, **options: Any) -> bytes:
        self.arm()
        return super().recv(*arguments, **options)

    def recv_into(self, *arguments: Any, **options: Any) -> int:
        self.arm()
        return super().recv_into(*arguments, **options)

    def sendall(self, *arguments: Any, **options: Any) -> None:
        self.arm()
        return super().sendall(*arguments, **options)


class TimedTLSSocket(TimedSocket, ssl.SSLSocket):
    """A timed socket with TLS; made by ``wrap_tls``."""

    def read(self, *arguments: Any, **options: Any) -> Any:
        self.arm()
        return super().read(*arguments, **options)

    def write(self, *arguments: Any, **options: Any) -> int:
        self.arm()
        return super().write(*arguments, **options)

    def send(self, *arguments: Any, **options: Any) -> int:  # sendall calls it, too
        self.arm()
        return super().send(*arguments, **options)

    def unwrap(self) -> socket.socket:
        self.arm()
        return super().unwrap()


def connect(family: int, address: Any, deadline: Deadline) -> TimedSocket:
    """Return a socket connected to an address.

    Args:
        family: the address family, such as ``socket.AF_INET``.
        address: an address in the form of this family.
        deadline: the deadline of the connection attempt and of all later operations.

    Raises:
        OSError: the connection failed or timed out.
    """
    sock = TimedSocket(family, socket.SOCK_STREAM)
    try:
        sock.deadline = deadline
        if family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.arm()
        sock.connect(address)
    except BaseException:
        sock.close()
        raise
    return sock


def connect_to(address: str, port: int, deadline: Deadline) -> TimedSocket:
    """Return a socket connected to a port of an IPv4 or IPv6 address; see ``connect``."""
    return connect(socket.AF_INET6 if ":" in address else socket.AF_INET, (address, port), deadline)


def wrap_tls(sock: TimedSocket, context: ssl.SSLContext, name: str) -> TimedTLSSocket:
    """Make the TLS handshake and return the socket to use from now on; close ``sock`` if the handshake fails.

    Args:
        sock: a connected socket.
        context: the context that verifies the server. All its later sockets are timed, too.
        name: the name that the server's certificate must be for.

    Raises:
        OSError: the server could not be verified, or the handshake failed or timed out.
    """
    context.sslsocket_class = TimedTLSSocket
    try:
        sock.settimeout(None if sock.deadline.at == math.inf else sock.deadline.left())
        # ssl limits the whole handshake to the timeout that the socket has at its beginning.
        secure = cast(TimedTLSSocket, context.wrap_socket(sock, server_hostname=name))
    except BaseException:
        sock.close()
        raise
    secure.deadline = sock.deadline
    secure.settimeout(None)
    return secure
