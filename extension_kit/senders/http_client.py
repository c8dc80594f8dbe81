"""HTTP requests, each of which ends in time, on connections that are used again only while they can be trusted."""

import math
import ssl
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from http.client import HTTPMessage
from typing import NamedTuple

from extension_kit.outgoing.connection import OutgoingConnection, Through, Tls
from extension_kit.outgoing.proxies import Proxy, ProxyError
from extension_kit.senders.addresses import ANYWHERE, Addresses
from extension_kit.senders.excerpts import reason
from extension_kit.senders.idle_connections import IdleConnections, NoConnectionError, dial_in_turn

EXCERPT_BYTES = 64 * 1024
EXCERPT_SECONDS = 1.0
"""What is read of a body, and waited for, of which no more than an excerpt is of use."""

_CLOSED = (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError)


class HttpRequest(NamedTuple):
    """A request. ``target`` is the path with the query, ``headers`` have the ``Host``, ``host`` has no brackets.

    ``ends_at`` is the moment of ``time.monotonic`` at which everything has to be over.
    """

    method: str
    scheme: str
    host: str
    port: int
    target: str
    headers: Mapping[str, str]
    body: bytes | None
    ends_at: float


class HttpAnswer(NamedTuple):
    """The final answer to a request. ``whole`` says whether the body is all of it."""

    status: int
    headers: HTTPMessage
    body: bytes
    whole: bool


class _Way(NamedTuple):
    address: str
    port: int
    tls: Tls | None = None
    through: Through | None = None


class HttpClient:
    """Asks servers; may be used from several threads. Redirects are not followed.

    Args:
        addresses: what may be dialled; not asked for a proxy's.
        context: verifies servers and the proxy; None where all is plain HTTP.
        idle: how many connections are kept for the next request.
        idle_seconds: how long one is kept.
        proxy: through which every request goes: with CONNECT where there is TLS, otherwise with a whole URL in it.
        socket_path: the Unix socket to which every request goes.
        resends: whether a request is sent again if its server closes, without an answer, a connection that was kept:
            it may have got the first.
    """

    def __init__(
        self,
        addresses: Addresses,
        context: ssl.SSLContext | None,
        *,
        idle: int,
        idle_seconds: float,
        proxy: Proxy | None = None,
        socket_path: str = "",
        resends: bool = False,
    ) -> None:
        self._addresses = addresses if proxy is None else Addresses(ANYWHERE)
        self._context = context
        self._proxy = proxy
        self._socket_path = socket_path
        self._resends = _CLOSED if resends else ()
        self._idle: IdleConnections[OutgoingConnection] = IdleConnections(
            OutgoingConnection.close, limit=idle, seconds=idle_seconds
        )

    def close(self) -> None:
        """Close the connections that are kept open."""
        self._idle.close()

    def ask(self, request: HttpRequest) -> HttpAnswer:
        """Send a request of whose answer the status counts: no more is read of the body than an excerpt needs.

        Raises:
            UnresolvedError: the name of the server or of the proxy is unknown.
            NotAllowedError: the server must not be dialled.
            NoConnectionError: there is no connection.
            ProxyError: there is no way through the proxy.
            OSError: there is no answer, or not in time.
            HTTPException: the answer is not HTTP.
        """
        return self._exchange(request, EXCERPT_BYTES, EXCERPT_SECONDS)

    def fetch(self, request: HttpRequest, limit: int) -> HttpAnswer:
        """Send a request, and read up to ``limit`` bytes of the answer's body; raises what ``ask`` does."""
        return self._exchange(request, limit, math.inf)

    def _exchange(self, request: HttpRequest, limit: int, patience: float) -> HttpAnswer:
        ways = self._ways(request)
        for way in ways:
            connection = self._idle.take(way)
            if connection and connection.is_usable:
                with suppress(*self._resends):
                    return self._ask(connection, way, request, limit, patience)
            elif connection:
                connection.close()

        def dial(way: _Way, seconds: float) -> tuple[OutgoingConnection, _Way]:
            connection = OutgoingConnection(*way)
            connection.deadline.at = time.monotonic() + seconds
            connection.connect()
            return connection, way

        try:
            dialled = dial_in_turn(ways, request.ends_at, dial)
        except NoConnectionError as error:
            if self._proxy is None:
                raise
            if isinstance(error.__cause__, ProxyError):
                raise error.__cause__ from None
            raise ProxyError(f"through the proxy {self._proxy.host}: {reason(error.cause)}") from error
        return self._ask(*dialled, request, limit, patience)

    def _ways(self, request: HttpRequest) -> list[_Way]:
        if self._socket_path:
            return [_Way(self._socket_path, 0)]
        tls = through = None
        host, port = request.host, request.port
        if request.scheme == "https" and self._context:
            tls = Tls(host.rstrip("."), self._context)
        if proxy := self._proxy:
            own = Tls(proxy.host, self._context) if proxy.scheme == "https" and self._context else None
            through = Through(proxy, own, host, port) if tls else None
            tls = tls or own
            host, port = proxy.host, proxy.port
        addresses = self._addresses.of(host, port, request.ends_at - time.monotonic())
        return [_Way(address, port, tls, through) for address in addresses]

    def _ask(
        self, connection: OutgoingConnection, way: _Way, request: HttpRequest, limit: int, patience: float
    ) -> HttpAnswer:
        target, headers = request.target, request.headers
        if self._proxy and way.through is None:
            target = f"{request.scheme}://{headers['Host']}{target}"
            if self._proxy.authorization:
                headers = {**headers, "Proxy-Authorization": self._proxy.authorization}
        connection.deadline.at = request.ends_at
        with ExitStack() as closing:
            closing.callback(connection.close)
            response = connection.ask(request.method, target, request.body, headers)
            connection.deadline.at = min(request.ends_at, time.monotonic() + patience)
            body, whole = response.read_beginning(limit)
            # What follows an odd answer might be taken for that of the next request.
            if whole and not response.is_odd and connection.sock is not None:
                closing.pop_all()
                self._idle.give(way, connection)
            return HttpAnswer(response.status, response.headers, body, whole)
