"""HTTP connection to one checked address, with a deadline for everything and optionally with TLS or a proxy."""

import socket
import ssl
from collections.abc import Mapping
from contextlib import suppress
from http.client import HTTPConnection
from typing import Any, NamedTuple, cast

from urllib3.util import wait_for_read
from urllib3.util.ssltransport import SSLTransport

from extension_kit.outgoing.deadlines import Deadline, TimedSocket, TimedTLSSocket, connect, connect_to, wrap_tls
from extension_kit.outgoing.proxies import Proxy
from extension_kit.outgoing.response import FinalResponse


class Tls(NamedTuple):
    """Verification of a server: the name its certificate must be for, and the context that verifies it."""

    name: str
    context: ssl.SSLContext


class Tunnel(NamedTuple):
    """A tunnel through a proxy to ``host`` and ``port``; ``tls`` is for the proxy itself, None for plain HTTP."""

    proxy: Proxy
    tls: Tls | None
    host: str
    port: int


class _TLSInTLS(SSLTransport):
    """TLS inside an encrypted connection to a proxy."""

    socket: TimedSocket

    @property
    def deadline(self) -> Deadline:
        return self.socket.deadline

    def pending(self) -> int:
        return self.sslobj.pending()

    def setsockopt(self, *arguments: Any) -> None:
        self.socket.setsockopt(*arguments)


class OutgoingConnection(HTTPConnection):
    """A connection to one address. It resolves no names, and all its answers are ``FinalResponse``.

    It is based on the standard library because urllib3 logs the URL of an answer with malformed headers, and URLs of
    receivers may contain secrets.

    Args:
        address: the checked IPv4 or IPv6 address, or the path of a Unix socket.
        port: the port, 0 for a Unix socket.
        tls: verification of the server; None for plain HTTP.
        tunnel: the tunnel to the server, if ``address`` is that of a proxy that has to open one.
    """

    response_class = FinalResponse

    def __init__(self, address: str, port: int, tls: Tls | None = None, tunnel: Tunnel | None = None) -> None:
        super().__init__("localhost")
        self._address = (address, port)
        self._tls = tls
        self._proxy_tunnel = tunnel
        self.deadline = Deadline()

    def __del__(self) -> None:
        self.close()  # a forked process drops its parent's connections without closing them

    @property
    def is_usable(self) -> bool:
        """True if the connection is open and no bytes or end of stream have arrived since the last answer."""
        if self.sock is None or wait_for_read(self.sock, timeout=0):
            return False
        return not (isinstance(self.sock, TimedTLSSocket | _TLSInTLS) and self.sock.pending())

    def connect(self) -> None:
        """Connect, open the tunnel if there is one, and make the TLS handshake if there is TLS.

        Raises:
            OSError: the connection or the handshake failed or timed out.
            ProxyError: the proxy did not open the tunnel.
        """
        address, port = self._address
        sock = connect_to(address, port, self.deadline) if port else connect(socket.AF_UNIX, address, self.deadline)
        try:
            if self._proxy_tunnel:
                if self._proxy_tunnel.tls:
                    sock = wrap_tls(sock, self._proxy_tunnel.tls.context, self._proxy_tunnel.tls.name)
                self._proxy_tunnel.proxy.open_tunnel(sock, self._proxy_tunnel.host, self._proxy_tunnel.port)
            if self._tls and isinstance(sock, TimedTLSSocket):
                self.sock = _TLSInTLS(sock, self._tls.context, self._tls.name)
            elif self._tls:
                self.sock = wrap_tls(sock, self._tls.context, self._tls.name)
            else:
                self.sock = sock
        except BaseException:
            sock.close()
            raise

    def ask(self, method: str, target: str, body: bytes | None, headers: Mapping[str, str]) -> FinalResponse:
        """Send a request and read the answer's head.

        Raises:
            OSError: the connection broke, or the deadline has passed.
            HTTPException: the answer is not HTTP.
        """
        with suppress(BrokenPipeError, ConnectionResetError):  # a server may answer before it has read the whole body
            self.request(method, target, body, headers)
        return cast(FinalResponse, self.getresponse())
