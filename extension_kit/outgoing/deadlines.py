"""Sockets on which everything together ends in time.

By itself a timeout begins anew with each operation: a peer that sends a byte now and then would hold a client forever.
"""

import math
import socket
import ssl
import time
from typing import Any, cast


class Deadline:
    """A moment of ``time.monotonic`` that may be moved: whatever holds it sees that.

    Args:
        at: the moment; by default there is none.
    """

    def __init__(self, at: float = math.inf) -> None:
        self.at = at

    def left(self) -> float:
        """The seconds that are left.

        Raises:
            TimeoutError: none are.
        """
        if (left := self.at - time.monotonic()) <= 0:
            raise TimeoutError("timed out")
        return left


class TimedSocket(socket.socket):
    """A socket whose operations fail with ``TimeoutError`` at its deadline, or where its own timeout ends earlier."""

    deadline = Deadline()
    _wanted: float | None = None

    def settimeout(self, value: float | None) -> None:
        self._wanted = value
        super().settimeout(value)

    def gettimeout(self) -> float | None:
        return self._wanted

    def arm(self) -> None:
        """Let the next operation end in time.

        Raises:
            TimeoutError: the time is up.
        """
        limits = [self._wanted] if self._wanted is not None else []
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
    """The same with TLS; made by ``secured``."""

    def read(self, *arguments: Any, **options: Any) -> Any:
        self.arm()
        return super().read(*arguments, **options)

    def write(self, *arguments: Any, **options: Any) -> int:
        self.arm()
        return super().write(*arguments, **options)

    def send(self, *arguments: Any, **options: Any) -> int:  # sendall goes through it, too
        self.arm()
        return super().send(*arguments, **options)

    def unwrap(self) -> socket.socket:
        self.arm()
        return super().unwrap()


def connected(family: int, address: Any, deadline: Deadline) -> TimedSocket:
    """Connect.

    Args:
        family: of the address, such as ``socket.AF_INET``.
        address: as this family has it.
        deadline: the end of the time for this and for everything that is done with the socket.

    Raises:
        OSError: there is no connection.
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


def connected_to(address: str, port: int, deadline: Deadline) -> TimedSocket:
    """Connect to a port at an IPv4 or IPv6 address; the rest is as in ``connected``."""
    return connected(socket.AF_INET6 if ":" in address else socket.AF_INET, (address, port), deadline)


def secured(sock: TimedSocket, context: ssl.SSLContext, name: str) -> TimedTLSSocket:
    """Shake hands, and give the socket to use from now on; the one before is closed where that fails.

    Args:
        sock: a connection.
        context: verifies the server, or does not. Its sockets are timed from now on.
        name: what the server's certificate has to be for.

    Raises:
        OSError: the other end is not the one that is wanted, or not in time.
    """
    context.sslsocket_class = TimedTLSSocket
    try:
        sock.settimeout(None if sock.deadline.at == math.inf else sock.deadline.left())
        # The handshake as a whole is held to the timeout that a socket has when it begins.
        secure = cast(TimedTLSSocket, context.wrap_socket(sock, server_hostname=name))
    except BaseException:
        sock.close()
        raise
    secure.deadline = sock.deadline
    secure.settimeout(None)
    return secure
