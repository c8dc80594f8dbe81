"""HTTP client: requests with a deadline, on kept connections, to checked addresses, a proxy or a Unix socket."""

import ssl
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from http.client import HTTPMessage
from typing import NamedTuple

from urllib3 import HTTPHeaderDict

from extension_kit.outgoing.connection import OutgoingConnection, Tls, Tunnel
from extension_kit.outgoing.proxies import Proxy, ProxyError
from extension_kit.senders.addresses import ANYWHERE, Addresses
from extension_kit.senders.excerpts import reason
from extension_kit.senders.idle_connections import IdleConnections, NoConnectionError, dial_first

EXCERPT_BYTES = 64 * 1024
"""Maximum bytes to read of a body that is needed for an excerpt only."""

EXCERPT_SECONDS = 1.0
"""Maximum seconds to wait for such a body."""

_CLOSED_BY_PEER = (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError)


class HttpRequest(NamedTuple):
    """A request. ``target`` is the path with the query, ``headers`` include ``Host``, ``host`` has no brackets.

    ``ends_at`` is the deadline of the whole exchange, a moment of ``time.monotonic``. ``context`` verifies the server
    instead of the client's context; only requests with the same context share connections.
    """

    method: str
    scheme: str
    host: str
    port: int
    target: str
    headers: Mapping[str, str]
    body: bytes | None
    ends_at: float
    context: ssl.SSLContext | None = None


class HttpAnswer(NamedTuple):
    """The final answer to a request. ``complete`` is False if ``body`` is only its beginning."""

    status: int
    headers: HTTPMessage
    body: bytes
    complete: bool


class _Route(NamedTuple):
    address: str
    port: int
    tls: Tls | None = None
    tunnel: Tunnel | None = None


class HttpClient:
    """An HTTP client. Thread-safe. Redirects are not followed.

    Args:
        addresses: resolves and checks hosts; not used for a proxy.
        context: verifies servers and the proxy; None for plain HTTP.
        idle: maximum number of connections to keep for later requests.
        idle_seconds: seconds to keep a connection.
        proxy: the proxy for all requests: https by a tunnel (CONNECT), http by the whole URL in the request.
        socket_path: the Unix socket for all requests.
        resends: True to send a request again if the server closes a kept connection without an answer. The server may
            get such a request twice.
        excerpt_seconds: seconds to wait for a body of which an excerpt is enough.
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
        excerpt_seconds: float = EXCERPT_SECONDS,
    ) -> None:
        self._addresses = addresses if proxy is None else Addresses(ANYWHERE)
        self._context = context
        self._proxy = proxy
        self._socket_path = socket_path
        self._resend_errors = _CLOSED_BY_PEER if resends else ()
        self._excerpt_seconds = excerpt_seconds
        self._idle: IdleConnections[OutgoingConnection] = IdleConnections(
            OutgoingConnection.close, limit=idle, seconds=idle_seconds
        )

    def close(self) -> None:
        """Close the idle connections."""
        self._idle.close()

    def ask(self, request: HttpRequest) -> HttpAnswer:
        """Send a request and return the status of the answer, with no more of its body than an excerpt needs.

        Raises:
            UnresolvedError: the name of the server or of the proxy could not be resolved.
            NotAllowedError: the server has no allowed address.
            NoConnectionError: the server could not be connected to.
            ProxyError: the proxy could not be connected to, or did not open a tunnel.
            OSError: no answer came, or not in time.
            HTTPException: the answer is not HTTP.
        """
        return self._exchange(request, EXCERPT_BYTES, self._excerpt_seconds)

    def fetch(self, request: HttpRequest, limit: int) -> HttpAnswer:
        """Send a request and read the answer's body, up to ``limit`` bytes.

        Raises the errors of ``ask``; ``OSError`` and ``HTTPException`` also if the body does not end in time, or breaks
        off.
        """
        return self._exchange(request, limit, None)

    def _exchange(self, request: HttpRequest, limit: int, patience: float | None) -> HttpAnswer:
        routes = self._routes(request)
        for route in routes:
            connection = self._idle.acquire(route)
            if connection and connection.is_usable:
                with suppress(*self._resend_errors):
                    return self._ask(connection, route, request, limit, patience)
            elif connection:
                connection.close()

        def dial(route: _Route, seconds: float) -> tuple[OutgoingConnection, _Route]:
            connection = OutgoingConnection(*route)
            connection.deadline.at = time.monotonic() + seconds
            connection.connect()
            return connection, route

        try:
            dialled = dial_first(routes, request.ends_at, dial)
        except NoConnectionError as error:
            if self._proxy is None:
                raise
            if isinstance(error.__cause__, ProxyError):
                raise error.__cause__ from None
            raise ProxyError(f"through the proxy {self._proxy.host}: {reason(error.cause)}") from error
        return self._ask(*dialled, request, limit, patience)

    def _routes(self, request: HttpRequest) -> list[_Route]:
        if self._socket_path:
            return [_Route(self._socket_path, 0)]
        tls = tunnel = None
        host, port = request.host, request.port
        if request.scheme == "https" and (context := request.context or self._context):
            tls = Tls(host.rstrip("."), context)
        if proxy := self._proxy:
            own = Tls(proxy.host, self._context) if proxy.scheme == "https" and self._context else None
            tunnel = Tunnel(proxy, own, host, port) if tls else None
            tls = tls or own
            host, port = proxy.host, proxy.port
        addresses = self._addresses.resolve(host, port, request.ends_at - time.monotonic())
        return [_Route(address, port, tls, tunnel) for address in addresses]

    def _ask(
        self, connection: OutgoingConnection, route: _Route, request: HttpRequest, limit: int, patience: float | None
    ) -> HttpAnswer:
        """Make the exchange; ``patience``: seconds for a body that is an excerpt only; None: the body counts."""
        target, headers = request.target, request.headers
        if self._proxy and route.tunnel is None:
            target = f"{request.scheme}://{headers['Host']}{target}"
            if self._proxy.authorization:
                headers = HTTPHeaderDict(headers)
                headers["Proxy-Authorization"] = self._proxy.authorization
        connection.deadline.at = request.ends_at
        with ExitStack() as closing:
            closing.callback(connection.close)
            response = connection.ask(request.method, target, request.body, headers)
            if patience is not None:
                connection.deadline.at = min(request.ends_at, time.monotonic() + patience)
            body, complete, error = response.read_beginning(limit)
            if error and patience is None:
                raise error
            # Bytes behind an irregular answer could be taken for the answer to the next request.
            if complete and not response.is_irregular and connection.sock is not None:
                closing.pop_all()
                self._idle.release(route, connection)
            return HttpAnswer(response.status, response.headers, body, complete)
