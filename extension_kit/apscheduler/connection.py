"""The connection to a CronEye server."""

# Now, because a process that is forked while another thread connects would wait for the import for ever.
import encodings.idna  # noqa: F401
from contextlib import closing

from urllib3 import BaseHTTPResponse, HTTPConnectionPool, HTTPSConnectionPool, Retry, Timeout
from urllib3.exceptions import HTTPError, LocationParseError
from urllib3.util import Url, parse_url

from extension_kit.errors import ConfigurationError
from extension_kit.senders import Outcome
from extension_kit.senders.excerpts import excerpt, reason
from extension_kit.senders.idle_connections import client_context

_ANSWER_BYTES = 4096
_MAX_RETRY_AFTER = 3600.0  # seconds
_LATER = {408, 425, 429}


class Connection:
    """A kept-alive connection, for one thread at a time.

    Args:
        url: where CronEye's ``/event`` is, without it; http or https.
        token: one of the server's.
        timeout: seconds to connect, and to wait for each part of the answer.
        ca_file: PEM file with the authorities to trust instead of the system's.

    Raises:
        ConfigurationError: one of them cannot be used; the message does not repeat the token.
    """

    def __init__(self, url: str, token: str, *, timeout: float, ca_file: str | None) -> None:
        self._url = _checked_url(url)
        self._token = _checked_token(token)
        self._timeout = Timeout(connect=timeout, read=timeout)
        self._context = client_context(ca_file) if self._url.scheme == "https" else None
        self.url = self._url._replace(path=f"{(self._url.path or '').rstrip('/')}/event").url
        """Where events are posted."""
        self._path = parse_url(self.url).request_uri
        self.renew()

    def post(self, body: bytes) -> Outcome:
        """Make one attempt to send an event; never raises for what the server or the network does.

        An answer 5xx, 408, 425 or 429 may get better, as may no answer at all; any other is refused for good. Redirects
        are not followed, for the token is not meant for others.
        """
        headers = {"Authorization": f"Token {self._token}", "Content-Type": "application/json"}
        try:
            response = self._pool.urlopen(
                "POST", self._path, body, headers, retries=False, redirect=False, preload_content=False
            )
            with closing(response):
                said = excerpt(response.read(_ANSWER_BYTES, decode_content=False), {self._token})
        except (HTTPError, OSError) as error:
            return Outcome("failed", excerpt(_reason(error), {self._token}))
        status = response.status
        if 200 <= status < 300:
            return Outcome("delivered", status=status)
        error_text = f"it answers {status}" + (f" ({said})" if said else "")
        if status >= 500 or status in _LATER:
            return Outcome("failed", error_text, status, said, _retry_after(response))
        return Outcome("refused", error_text, status, said)

    def renew(self) -> None:
        """Begin with a new connection, as a process must that was forked."""
        host, port = str(self._url.host), self._url.port
        if self._context is None:
            self._pool = HTTPConnectionPool(host, port, timeout=self._timeout)
        else:
            self._pool = HTTPSConnectionPool(host, port, timeout=self._timeout, ssl_context=self._context)

    def close(self) -> None:
        """Close the connection, for good."""
        self._pool.close()


def _checked_url(text: str) -> Url:
    try:
        url = parse_url(text)
    except LocationParseError:
        raise ConfigurationError("the URL of the CronEye server cannot be read") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise ConfigurationError("the URL of the CronEye server begins with http:// or https:// and a host")
    if url.auth or url.query or url.fragment:
        raise ConfigurationError("the URL of the CronEye server has no user name, password, query or fragment")
    return url


def _checked_token(token: str) -> str:
    if not token or not token.isascii() or not token.isprintable() or token != token.strip():
        raise ConfigurationError("the token is not empty, and of ASCII characters without line breaks or outer blanks")
    return token


def _reason(error: BaseException) -> str:
    inner = [cause for cause in (error.__cause__, *error.args) if isinstance(cause, BaseException)]
    return _reason(inner[0]) if inner else reason(error)


def _retry_after(response: BaseHTTPResponse) -> float | None:
    """Seconds, from a number or a date (RFC 9110, section 10.2.3)."""
    try:
        seconds = Retry().get_retry_after(response)
    except (HTTPError, ValueError, OverflowError):
        return None
    return None if seconds is None else min(seconds, _MAX_RETRY_AFTER)
