"""Connection to a CronEye server: makes the requests and classifies their answers."""

# Imported early: a process forked while another thread imports it in connecting would wait forever for the import lock.
import encodings.idna  # noqa: F401
import math
import time
from http.client import HTTPException

from urllib3.exceptions import LocationParseError
from urllib3.util import Url, parse_url

from extension_kit.errors import ConfigurationError
from extension_kit.outgoing.proxies import PORTS, Proxy, ProxyError, proxy_of_environment
from extension_kit.senders import Outcome
from extension_kit.senders.addresses import ANYWHERE, Addresses, UnresolvedError
from extension_kit.senders.excerpts import excerpt, reason, retry_after
from extension_kit.senders.http_client import EXCERPT_SECONDS, HttpClient, HttpRequest
from extension_kit.senders.idle_connections import NoConnectionError, client_context

_MAX_RETRY_AFTER = 3600.0  # seconds
_RETRYABLE = {101, 408, 425, 429}


class Connection:
    """A kept-alive connection for one thread at a time, through the proxy of the environment's variables.

    Args:
        url: URL of CronEye's API, without ``/event``; http or https.
        token: one of the server's tokens.
        timeout: seconds for an attempt.
        ca_file: PEM file with CA certificates to trust instead of the system's.
        excerpt_seconds: seconds to wait for the body of an answer.

    Raises:
        ConfigurationError: an argument cannot be used; the message does not repeat the token.
    """

    def __init__(
        self, url: str, token: str, *, timeout: float, ca_file: str | None, excerpt_seconds: float = EXCERPT_SECONDS
    ) -> None:
        self._url = _checked_url(url)
        self._timeout = timeout
        self._excerpt_seconds = excerpt_seconds
        self._context = client_context(ca_file) if self._url.scheme == "https" else None
        self.url = self._url._replace(path=f"{(self._url.path or '').rstrip('/')}/event").url
        """URL to which events are posted."""
        self._path = parse_url(self.url).request_uri
        scheme, self._host = str(self._url.scheme), str(self._url.host).strip("[]")
        self._port = self._url.port or PORTS[scheme]
        self._proxy = _proxy(scheme, self._host, self._port)
        self._secrets = {_checked_token(token), *(self._proxy.secrets if self._proxy else ())}
        self._headers = {
            "Host": self._url.netloc or "",
            "Authorization": f"Token {token}",
            "Content-Type": "application/json",
        }
        self.renew()

    def post(self, body: bytes) -> Outcome:
        """Make one attempt to send an event. Failures of the server and of the network are outcomes, not exceptions.

        The attempt has failed, and may be repeated, if the answer is 5xx, 101, 408, 425 or 429 or is missing; with any
        other status the event is refused. Redirects are not followed, because other servers must not get the token.
        """
        ends_at = time.monotonic() + self._timeout
        scheme = str(self._url.scheme)
        request = HttpRequest("POST", scheme, self._host, self._port, self._path, self._headers, body, ends_at)
        try:
            answer = self._client.ask(request)
        except (UnresolvedError, ProxyError) as error:
            return Outcome("failed", str(error))
        except NoConnectionError as error:
            return Outcome("failed", excerpt(reason(error.cause), self._secrets))
        except OSError as error:
            return Outcome("failed", excerpt(reason(error), self._secrets))
        except HTTPException:
            return Outcome("failed", "its answer is not HTTP")
        said = excerpt(answer.body, self._secrets)
        status = answer.status
        if 200 <= status < 300:
            return Outcome("delivered", status=status)
        error_text = f"it answers {status}" + (f" ({said})" if said else "")
        if status >= 500 or status in _RETRYABLE:
            wait = retry_after(answer.headers.get("Retry-After", ""), _MAX_RETRY_AFTER)
            return Outcome("failed", error_text, status, said, wait)
        return Outcome("refused", error_text, status, said)

    def renew(self) -> None:
        """Replace the connection, as is necessary in a forked process."""
        # Kept without time limit: the thread that closes expired connections could not start at the process's end.
        self._client = HttpClient(
            Addresses(ANYWHERE),
            self._context,
            idle=1,
            idle_seconds=math.inf,
            proxy=self._proxy,
            excerpt_seconds=self._excerpt_seconds,
        )

    def close(self) -> None:
        """Close the connection finally."""
        self._client.close()


def _proxy(scheme: str, host: str, port: int) -> Proxy | None:
    try:
        return proxy_of_environment(scheme, host, port)
    except ValueError:
        raise ConfigurationError(
            f"the proxy of {scheme.upper()}_PROXY or ALL_PROXY has no URL such as http://proxy:3128"
        ) from None


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
