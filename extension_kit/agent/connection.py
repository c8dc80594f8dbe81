"""HTTP connections of the simulated agent to an extension."""

import math
import ssl
import time
import zlib
from base64 import b64encode
from collections.abc import Callable, Mapping
from http.client import HTTPException, HTTPMessage
from typing import NamedTuple, Self
from urllib.parse import quote, urlsplit

from extension_kit.agent import tls_hints
from extension_kit.agent.address import Address
from extension_kit.errors import ConfigurationError, ExtensionKitError
from extension_kit.senders.addresses import ANYWHERE, Addresses, UnresolvedError
from extension_kit.senders.http_client import EXCERPT_SECONDS, HttpAnswer, HttpClient, HttpRequest
from extension_kit.senders.idle_connections import NoConnectionError, client_context

GRACE = 1.0
"""Seconds to wait for an answer beyond ``Request-Timeout``, for its time on the network."""

_INDEX_BYTES = 16 * 1024 * 1024
_IN_A_TARGET = "/?%:@!$&'()*+,;=~[]"  # quote would encode these without need


class NoAnswerError(ExtensionKitError):
    """The extension did not answer."""


class Answer(NamedTuple):
    """An answer of an extension. ``complete`` is False if ``body`` is only its beginning."""

    status: int
    headers: HTTPMessage
    body: bytes
    complete: bool
    seconds: float


def tls_context(
    *, ca: str | None = None, cert: str | None = None, key: str | None = None, insecure: bool = False
) -> ssl.SSLContext:
    """Return the TLS context of an agent.

    Args:
        ca: PEM file with CA certificates to trust instead of the system's.
        cert: PEM file with the agent's own certificate (chain).
        key: PEM file with the key of that certificate, not encrypted; by default the key is in ``cert``.
        insecure: True to accept any certificate.

    Raises:
        ConfigurationError: a file cannot be used, or ``key`` is given without ``cert``.
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
    if cert:
        try:
            context.load_cert_chain(cert, key, password="")  # without one, OpenSSL asks at the terminal
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"cannot use the client certificate {cert}: {error}") from None
    return context


class Connection:
    """Kept-alive connections to one extension. Thread-safe.

    Args:
        address: address of the extension.
        timeout: seconds, sent with each request as ``Request-Timeout``.
        credentials: user name and password for basic authentication.
        tls: context for https; by default the system's CA certificates are trusted.
        size: maximum number of simultaneous requests.
        grace: seconds to wait for an answer beyond the timeout.
        excerpt_seconds: seconds to wait for the body of an answer.
    """

    def __init__(
        self,
        address: Address,
        *,
        timeout: float,
        credentials: tuple[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
        size: int = 1,
        grace: float = GRACE,
        excerpt_seconds: float = EXCERPT_SECONDS,
    ) -> None:
        self.url = address.url
        self._address = address
        base = "" if address.scheme == "unix" else address.path
        self._index_path = base or "/"
        self._base = base.rstrip("/")
        self._seconds = timeout + grace
        self._headers = {
            "Host": urlsplit(address.url).netloc or "localhost",
            "User-Agent": "extension-kit agent",
            "Accept": "application/json",
            "Accept-Encoding": "gzip",
            "Request-Timeout": f"{timeout:g}",
        }
        if credentials:
            self._headers["Authorization"] = "Basic " + b64encode(":".join(credentials).encode()).decode()
        self._tls = (tls or client_context(None)) if address.scheme == "https" else None
        self._size = size
        self._excerpt_seconds = excerpt_seconds
        self._has_answered = False
        self._client = self._open()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def renew(self) -> None:
        """Replace idle connections, which the extension may be closing right now. Call it without pending requests."""
        self._client.close()
        self._client = self._open()

    def index(self, etag: str | None) -> Answer:
        """Request the registration document, unless it still has this ETag.

        Raises:
            NoAnswerError: there was no complete answer; the message gives the reason.
        """
        headers = {"If-None-Match": etag} if etag else {}
        request = self._request("GET", self._index_path, None, headers)
        answer = self._answer(lambda: self._client.fetch(request, _INDEX_BYTES))
        if not answer.complete:
            raise NoAnswerError(f"its answer has more than {_INDEX_BYTES} bytes")
        return answer

    def send(self, method: str, path: str, body: bytes) -> Answer:
        """Send an event to a path of the registration document, which is relative to the registered URL.

        Only the status of the answer matters, so only the beginning of its body is read.

        Raises:
            NoAnswerError: there was no answer; the message gives the reason.
        """
        request = self._request(method, self._base + path, body, {"Content-Type": "application/json"})
        return self._answer(lambda: self._client.ask(request))

    def _request(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> HttpRequest:
        address, ends_at = self._address, time.monotonic() + self._seconds
        target = quote(path.partition("#")[0], safe=_IN_A_TARGET)
        headers = {**self._headers, **headers}
        return HttpRequest(method, address.scheme, address.host, address.port, target, headers, body, ends_at)

    def _answer(self, ask: Callable[[], HttpAnswer]) -> Answer:
        started = time.perf_counter()
        try:
            answer = ask()
        except NoConnectionError as error:
            raise NoAnswerError(self._explain(error.cause)) from None
        except (OSError, HTTPException, UnresolvedError) as error:
            raise NoAnswerError(self._explain(error)) from None
        self._has_answered = True
        body = answer.body
        if answer.headers.get("Content-Encoding", "").strip().lower() == "gzip":
            body = _unpacked(body)
        return Answer(answer.status, answer.headers, body, answer.complete, time.perf_counter() - started)

    def _open(self) -> HttpClient:
        return HttpClient(
            Addresses(ANYWHERE),
            self._tls,
            idle=self._size,
            idle_seconds=math.inf,
            socket_path=self._address.path if self._address.scheme == "unix" else "",
            excerpt_seconds=self._excerpt_seconds,
        )

    def _explain(self, error: BaseException) -> str:
        if isinstance(error, TimeoutError):
            return f"no answer within {self._seconds:g} seconds"
        if not self._has_answered and (words := tls_hints.explain(error, self._address)):
            return words
        return getattr(error, "verify_message", "") or getattr(error, "strerror", "") or str(error)


def _unpacked(body: bytes) -> bytes:
    """Return the content of a gzip stream, which may be cut short.

    Raises:
        NoAnswerError: the body is not a gzip stream.
    """
    try:
        return zlib.decompressobj(wbits=16 + zlib.MAX_WBITS).decompress(body, _INDEX_BYTES)
    except zlib.error:
        raise NoAnswerError("its answer is said to be packed with gzip, and is not") from None
