"""HTTP calls: single requests of event protocols, to checked addresses, with the whole answer."""

import errno
import re
import ssl
import time
from collections.abc import Mapping
from functools import partial
from http.client import HTTPException
from importlib.metadata import version
from typing import NamedTuple

from urllib3 import HTTPHeaderDict
from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

from extension_kit.errors import ExtensionKitError
from extension_kit.outgoing.proxies import Proxy, ProxyError
from extension_kit.senders.addresses import Addresses, NotAllowedError, UnresolvedError
from extension_kit.senders.excerpts import reason
from extension_kit.senders.http_client import HttpAnswer, HttpClient, HttpRequest
from extension_kit.senders.http_target import PORTS
from extension_kit.senders.idle_connections import NoConnectionError, client_context
from extension_kit.senders.target_schema import is_header_name, is_host
from extension_kit.senders.traced import traced_exchange

USER_AGENT = f"extension-kit/{version('extension-kit')}"
_IDLE_CONNECTIONS, _IDLE_SECONDS = 100, 15.0
_FRAMING = frozenset({"host", "content-length", "transfer-encoding"})

_is_method = re.compile(r"(?!CONNECT$)[A-Z]+(-[A-Z]+)*").fullmatch
_is_value = re.compile(r"[\t\x20-\x7e\x80-\xff]*").fullmatch


class CallFailed(ExtensionKitError):
    """A call has no answer, or was not made. The message has the reason, the host if it is known, and no secrets.

    Args:
        message: what went wrong.
        cause: the error behind it.
        may_repeat: False if a repeated call fails in the same way.
        unreachable: True if no connection could be made, so that nothing was sent.

    Attributes:
        code: name of the system's error, such as ``ECONNREFUSED``; empty if it has none, as an error of TLS.
    """

    def __init__(
        self, message: str, cause: BaseException | None = None, *, may_repeat: bool = True, unreachable: bool = False
    ) -> None:
        super().__init__(message)
        number = None if isinstance(cause, ssl.SSLError) else getattr(cause, "errno", None)  # TLS has its own numbers
        self.code = "" if number is None else errno.errorcode.get(number, "")
        self.may_repeat = may_repeat
        self.unreachable = unreachable


class Answer(NamedTuple):
    """The answer to a call. ``body`` is as it was sent, not decoded; ``complete`` is False if it was cut at the limit.

    A header may occur several times.
    """

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    complete: bool


def exchange(client: HttpClient, request: HttpRequest, *, limit: int | None = None) -> HttpAnswer:
    """Send a request and return the answer.

    Args:
        client: sends it.
        request: the request.
        limit: maximum bytes of the body; None: as many as an excerpt needs.

    Raises:
        CallFailed: no answer came.
    """
    try:
        return traced_exchange(client.ask if limit is None else partial(client.fetch, limit=limit), request)
    except NotAllowedError as error:
        raise CallFailed(str(error), may_repeat=False) from error
    except UnresolvedError as error:
        raise CallFailed(str(error), unreachable=True) from error
    except NoConnectionError as error:
        message = f"{request.host}: {reason(error.cause)}"
        raise CallFailed(message, error.cause, unreachable=error.unreachable) from error
    except ProxyError as error:
        raise CallFailed(f"{request.host}: {error}") from error
    except OSError as error:
        raise CallFailed(f"{request.host}: {reason(error)}", error) from error
    except HTTPException:  # its text may repeat secrets
        raise CallFailed(f"{request.host}: the answer is not HTTP") from None


class HttpCalls:
    """Makes calls. Thread-safe. Redirects are not followed, and no request is sent twice.

    Args:
        addresses: resolves and checks hosts; not used with a proxy.
        ca_file: PEM file with CA certificates to trust instead of the system's.
        proxy: the proxy for all calls.
    """

    def __init__(self, addresses: Addresses, *, ca_file: str | None, proxy: Proxy | None) -> None:
        self._client = HttpClient(
            addresses, client_context(ca_file), idle=_IDLE_CONNECTIONS, idle_seconds=_IDLE_SECONDS, proxy=proxy
        )

    def call(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes | None, timeout: float, limit: int
    ) -> Answer:
        """Make a call and return its answer, of any status.

        Args:
            method: in upper case; any but ``CONNECT``.
            url: http or https, without user name and password. The fragment is not sent.
            headers: in Latin-1, one line each. They replace ``User-Agent`` and ``Accept-Encoding`` of every call, in
                any case of letters. ``Host``, ``Content-Length`` and ``Transfer-Encoding`` are refused.
            body: None: no body.
            timeout: seconds for everything, the end of the answer's body included.
            limit: maximum bytes of the answer's body to read.

        Raises:
            CallFailed: the request is invalid and nothing was sent, or no whole answer came.
        """
        request = _request(method, url, headers, body, time.monotonic() + timeout)
        found = exchange(self._client, request, limit=limit)
        return Answer(found.status, list(found.headers.items()), found.body, found.complete)

    def close(self) -> None:
        """Close the idle connections."""
        self._client.close()


def _request(method: str, url: str, headers: Mapping[str, str], body: bytes | None, ends_at: float) -> HttpRequest:
    if not _is_method(method):
        raise CallFailed("the method is not valid", may_repeat=False)
    try:
        parts = parse_url(url)
    except LocationParseError:
        raise CallFailed("the URL is not valid", may_repeat=False) from None
    if parts.scheme not in PORTS or parts.port == 0 or not is_host(parts.host or ""):
        raise CallFailed("the URL needs http or https and a host", may_repeat=False)
    if parts.auth:
        raise CallFailed("the URL has a user name or password", may_repeat=False)
    sent = HTTPHeaderDict({"User-Agent": USER_AGENT})
    for name, value in headers.items():
        check_header(name, value)
        sent[name] = value
    host = str(parts.host)
    sent["Host"] = host_header(parts.scheme, host, parts.port)
    port = parts.port or PORTS[parts.scheme]
    return HttpRequest(method, parts.scheme, host.strip("[]"), port, parts.request_uri, sent, body, ends_at)


def check_header(name: str, value: str) -> None:
    """Check a header of a call, which must not break the framing of the request, nor inject another header.

    Raises:
        CallFailed: the name or the value is not allowed.
    """
    if not is_header_name(name):
        raise CallFailed("the name of a header consists of letters, digits and hyphens", may_repeat=False)
    if name.lower() in _FRAMING:
        raise CallFailed(f"the header {name} is set by the call", may_repeat=False)
    if not _is_value(value):
        raise CallFailed(f"the value of the header {name} has to be one line of Latin-1", may_repeat=False)


def host_header(scheme: str, host: str, port: int | None) -> str:
    """Return the header ``Host`` of a URL's parts: without the scheme's own port."""
    return host if port in (None, PORTS[scheme]) else f"{host}:{port}"
