"""HTTP connections to addresses, on which nothing takes longer than it may."""

import socket
import ssl
from collections.abc import Mapping
from contextlib import suppress
from http.client import HTTPConnection
from typing import Any, NamedTuple, cast

from urllib3.util import wait_for_read
from urllib3.util.ssltransport import SSLTransport

from extension_kit.outgoing.deadlines import Deadline, TimedSocket, TimedTLSSocket, connected, connected_to, secured
from extension_kit.outgoing.proxies import Proxy
from extension_kit.outgoing.response import FinalResponse


class Tls(NamedTuple):
    """How a server is verified: what its certificate has to be for, and by whom."""

    name: str
    context: ssl.SSLContext


class Through(NamedTuple):
    """A way through a proxy to ``host`` and ``port``; ``tls`` is the proxy's own, if it has any."""

    proxy: Proxy
    tls: Tls | None
    host: str
    port: int


class _TLSInTLS(SSLTransport):
    """TLS inside a connection to a proxy that is encrypted itself."""

    socket: TimedSocket

    @property
    def deadline(self) -> Deadline:
        return self.socket.deadline

    def pending(self) -> int:
        return self.sslobj.pending()

    def setsockopt(self, *arguments: Any) -> None:
        self.socket.setsockopt(*arguments)


class OutgoingConnection(HTTPConnection):
    """A connection to one address, whatever a name leads to by now. All answers are ``FinalResponse``.

    It is the standard library's and not urllib3's, which writes the URL into the log where an answer's headers are
    malformed: receivers put secrets into URLs.

    Args:
        address: IPv4 or IPv6, as it was checked; or the path of a Unix socket.
        port: where to; 0 for a Unix socket.
        tls: how the server is verified; None for plain HTTP.
        through: the proxy that is at the address, if the server is behind one that has to open a way.
    """

    response_class = FinalResponse

    def __init__(self, address: str, port: int, tls: Tls | None = None, through: Through | None = None) -> None:
        super().__init__("localhost")
        self._address = (address, port)
        self._tls = tls
        self._through = through
        self.deadline = Deadline()

    def __del__(self) -> None:
        self.close()  # where nobody has: a process that was forked leaves its parent's connections so

    @property
    def is_usable(self) -> bool:
        """Whether it is open, and nothing has come in since the last answer, such as its end."""
        if self.sock is None or wait_for_read(self.sock, timeout=0):
            return False
        return not (isinstance(self.sock, TimedTLSSocket | _TLSInTLS) and self.sock.pending())

    def connect(self) -> None:
        """Connect, have proxies open the way, and shake hands where there is TLS.

        Raises:
            OSError: there is no connection.
            ProxyError: a proxy opens no way.
        """
        address, port = self._address
        sock = connected_to(address, port, self.deadline) if port else connected(socket.AF_UNIX, address, self.deadline)
        try:
            if self._through:
                if self._through.tls:
                    sock = secured(sock, self._through.tls.context, self._through.tls.name)
                self._through.proxy.open_way(sock, self._through.host, self._through.port)
            if self._tls and isinstance(sock, TimedTLSSocket):
                self.sock = _TLSInTLS(sock, self._tls.context, self._tls.name)
            elif self._tls:
                self.sock = secured(sock, self._tls.context, self._tls.name)
            else:
                self.sock = sock
        except BaseException:
            sock.close()
            raise

    def ask(self, method: str, target: str, body: bytes | None, headers: Mapping[str, str]) -> FinalResponse:
        """Send a request and read the answer's head.

        Raises:
            OSError: the connection broke, or the time is up.
            HTTPException: the answer is not HTTP.
        """
        with suppress(BrokenPipeError, ConnectionResetError):  # it may have answered before it had read everything
            self.request(method, target, body, headers)
        return cast(FinalResponse, self.getresponse())
