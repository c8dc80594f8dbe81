"""The HTTP connections of an agent to an extension."""

import socket
import ssl
import time
from base64 import b64encode
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, Timeout, disable_warnings
from urllib3.connection import HTTPConnection
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    InsecureRequestWarning,
    NewConnectionError,
    ReadTimeoutError,
)

from extension_kit.agent import tls_trouble
from extension_kit.agent.registration import Address
from extension_kit.errors import ConfigurationError, ExtensionKitError

CONNECT_TIMEOUT = 10.0
"""Seconds; a real agent's default (Steadybit's agent, STEADYBIT_AGENT_EXTENSIONS_TIMEOUT_CONNECT)."""

GRACE = 1.0
"""Seconds beyond ``Request-Timeout`` for which an answer is still waited for: it has to travel."""


class NoAnswerError(ExtensionKitError):
    """The extension gave no answer."""


class Answer(NamedTuple):
    """What an extension answered, and after how many seconds."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float


def tls_context(
    *, ca: str | None = None, cert: str | None = None, key: str | None = None, insecure: bool = False
) -> ssl.SSLContext:
    """Make what is needed to trust an extension, and to be trusted by it.

    Args:
        ca: PEM file with certificates to trust instead of the system's.
        cert: PEM file with the agent's own certificate (chain).
        key: PEM file with its key, not encrypted; by default it is in ``cert``.
        insecure: whether any certificate is accepted.

    Raises:
        ConfigurationError: one of the files cannot be used.
    """
    if key and not cert:
        raise ConfigurationError("a client key is of use with its certificate only: give --client-cert as well")
    try:
        context = ssl.create_default_context(cafile=ca)
    except OSError as error:
        raise ConfigurationError(f"cannot read certificates from {ca}: {error.strerror or error}") from None
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        disable_warnings(InsecureRequestWarning)
    if cert:
        try:
            context.load_cert_chain(cert, key, password="")  # without one, OpenSSL would ask at the terminal
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"cannot use the client certificate {cert}: {error}") from None
    return context


class _UnixConnection(HTTPConnection):
    def __init__(self, *args: Any, socket_path: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._socket_path = socket_path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.sock.settimeout(CONNECT_TIMEOUT)
            self.sock.connect(self._socket_path)
        except OSError:
            self.close()
            raise


class _UnixConnectionPool(HTTPConnectionPool):
    ConnectionCls = _UnixConnection


class Connection:
    """Kept-alive connections to one extension; may be used from several threads.

    Args:
        address: where the extension is.
        timeout: seconds; sent with each request as ``Request-Timeout``.
        credentials: user name and password for basic authentication.
        tls: for https; by default the system's certificates are trusted.
        size: how many requests are made at the same time at most.
    """

    def __init__(
        self,
        address: Address,
        *,
        timeout: float,
        credentials: tuple[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
        size: int = 1,
    ) -> None:
        self.url = address.url
        self._address = address
        base = "" if address.scheme == "unix" else address.path
        self._index_path = base or "/"
        self._base = base.rstrip("/")
        self._timeout = Timeout(connect=CONNECT_TIMEOUT, read=timeout + GRACE)
        self._headers = {
            "User-Agent": "extension-kit agent",
            "Accept": "application/json",
            "Accept-Encoding": "gzip",
            "Request-Timeout": f"{timeout:g}",
        }
        if credentials:
            self._headers["Authorization"] = "Basic " + b64encode(":".join(credentials).encode()).decode()
        self._tls = tls
        self._size = size
        self._has_answered = False
        self._pool = self._open()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.close()

    def renew(self) -> None:
        """Leave idle connections, which the extension may be closing right now. No request may be under way."""
        self._pool.close()
        self._pool = self._open()

    def index(self, etag: str | None) -> Answer:
        """Ask for the registration document, unless it is the version that had this ETag.

        Raises:
            NoAnswerError: there is no answer; the message says why.
        """
        return self._request("GET", self._index_path, None, {"If-None-Match": etag} if etag else {})

    def send(self, method: str, path: str, body: bytes) -> Answer:
        """Send an event to a path of the registration document: it is relative to the registered URL.

        Raises:
            NoAnswerError: there is no answer; the message says why.
        """
        return self._request(method, self._base + path, body, {"Content-Type": "application/json"})

    def _request(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
        headers = {**self._headers, **headers}
        started = time.perf_counter()
        try:
            response = self._pool.urlopen(method, path, body, headers, retries=False, redirect=False)
        except HTTPError as error:
            raise NoAnswerError(self._explain(error)) from None
        self._has_answered = True
        return Answer(response.status, response.headers, response.data, time.perf_counter() - started)

    def _open(self) -> HTTPConnectionPool:
        address = self._address
        common: dict[str, Any] = {"timeout": self._timeout, "maxsize": self._size, "block": True}
        if address.scheme == "unix":
            return _UnixConnectionPool("localhost", socket_path=address.path, **common)
        if address.scheme == "https":
            return HTTPSConnectionPool(address.host, address.port, ssl_context=self._tls, **common)
        return HTTPConnectionPool(address.host, address.port, **common)

    def _explain(self, error: BaseException) -> str:
        if isinstance(error, ReadTimeoutError):
            return f"no answer within {self._timeout.read_timeout:g} seconds"
        if isinstance(error, ConnectTimeoutError) and not isinstance(error, NewConnectionError):
            return f"no connection within {CONNECT_TIMEOUT:g} seconds"
        inner = [cause for cause in (error.__cause__, *error.args) if isinstance(cause, BaseException)]
        if inner:
            return self._explain(inner[0])
        if not self._has_answered and (words := tls_trouble.explain(error, self._address)):
            return words
        return getattr(error, "verify_message", "") or getattr(error, "strerror", "") or str(error)
