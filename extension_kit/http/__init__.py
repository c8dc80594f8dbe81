"""HTTP client for functions: requests to the system that an extension works with.

The answer decides about the delivery of the function that calls: a success is returned, and any other answer is raised
as the exception that fits, so that a function need not handle it::

    from extension_kit import http

    client = http.Client("https://grafana.example", headers={"Authorization": f"Bearer {token}"})

    @extension.listen_to("experiment.execution.failed")
    def annotate(event):
        client.post("/api/annotations", json={"text": event.experiment_execution.name})

Calls heed the settings for deliveries: networks, proxy, CA file and timeout.
"""

import os
import re
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import NamedTuple, TypedDict, Unpack
from urllib.parse import urlencode

import orjson
from urllib3 import HTTPHeaderDict
from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

from extension_kit.deliveries.retry import is_number
from extension_kit.deliveries.sender_pool import Senders
from extension_kit.errors import ConfigurationError, GiveUp
from extension_kit.http.answers import MAX_ANSWER, Response, failure, words_of
from extension_kit.outgoing.proxies import Proxy
from extension_kit.senders.addresses import NotAllowedError
from extension_kit.senders.excerpts import secret_words
from extension_kit.senders.http_calls import CallFailed, HttpCalls, check_header
from extension_kit.senders.http_target import PORTS
from extension_kit.senders.target_schema import MAX_TIMEOUT, is_host
from extension_kit.settings.kit import Settings

__all__ = ["MAX_ANSWER", "CallFailed", "Client", "Response", "failure"]

_has_scheme = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://").match


class _Origin(NamedTuple):
    scheme: str
    host: str
    port: int


class Options(TypedDict, total=False):
    """Options of a request, see ``Client.request``."""

    json: object
    content: bytes | None
    params: Mapping[str, object] | None
    headers: Mapping[str, str] | None
    accept: Collection[int]


class Client:
    """An HTTP client for one system. Thread-safe. Redirects are not followed, and no request is sent twice.

    A client may be made when a module is imported: it uses neither settings nor network before its first request.
    Connections are kept for later requests, and belong to the process.

    Args:
        base_url: http or https, with the path that all paths begin with, if there is one. Without user name, query and
            fragment.
        headers: of every request, such as ``Authorization``.
        timeout: seconds for each request, the end of the answer included; None: ``EXTENSION_DELIVERY_TIMEOUT``.

    Raises:
        ConfigurationError: an argument cannot be used; the message says how to write it, without its value.
    """

    def __init__(
        self, base_url: str, *, headers: Mapping[str, str] | None = None, timeout: float | None = None
    ) -> None:
        origin = _origin(base_url)
        if origin is None or "?" in base_url or "#" in base_url:
            raise ConfigurationError(
                "a URL such as https://grafana.example/path is needed, with http or https and a host, without user "
                "name, query and fragment"
            )
        if timeout is not None and not (is_number(timeout) and 0 < timeout <= MAX_TIMEOUT):
            raise ConfigurationError(f"the timeout is a number of seconds up to {MAX_TIMEOUT:g}, not {timeout!r:.80}")
        self._origin = origin
        self._base = base_url.rstrip("/")
        self._headers = dict(headers or {})
        self._timeout = timeout
        try:
            for name, value in self._headers.items():
                check_header(name, value)
        except CallFailed as error:
            raise ConfigurationError(f"{origin.host}: {error}") from None

    def __repr__(self) -> str:
        return f"Client('{self._origin.scheme}://{self._origin.host}:{self._origin.port}')"

    def get(self, path: str = "", **options: Unpack[Options]) -> Response:
        """Make a GET request; see ``request`` for the options."""
        return self.request("GET", path, **options)

    def post(self, path: str = "", **options: Unpack[Options]) -> Response:
        """Make a POST request; see ``request`` for the options."""
        return self.request("POST", path, **options)

    def put(self, path: str = "", **options: Unpack[Options]) -> Response:
        """Make a PUT request; see ``request`` for the options."""
        return self.request("PUT", path, **options)

    def patch(self, path: str = "", **options: Unpack[Options]) -> Response:
        """Make a PATCH request; see ``request`` for the options."""
        return self.request("PATCH", path, **options)

    def delete(self, path: str = "", **options: Unpack[Options]) -> Response:
        """Make a DELETE request; see ``request`` for the options."""
        return self.request("DELETE", path, **options)

    def request(
        self,
        method: str,
        path: str = "",
        *,
        json: object = None,
        content: bytes | None = None,
        params: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        accept: Collection[int] = (),
    ) -> Response:
        """Make a request and return the answer, if it is a success.

        Args:
            method: such as ``POST``.
            path: behind the base URL, encoded; or a whole URL of the same scheme, host and port, as answers have it.
            json: the body, to be encoded as JSON.
            content: the body in bytes.
            params: of the query: texts, numbers, True, False, or lists of them; None is left out.
            headers: of this request. They replace those of the client.
            accept: statuses to return beside 200 to 299, such as 404.

        Raises:
            NotReady: the credentials are refused (401, 403).
            RetryLater: 429 or 503 with ``Retry-After``, which is heeded up to a day.
            CallFailed: no answer came, or 408, 425, 429 or one from 500 on: the retry schedule applies.
            GiveUp: any other status, or a request that cannot be sent.
            TypeError: ``json`` cannot be encoded, or ``content`` was given, too.
        """
        if json is not None and content is not None:
            raise TypeError("a request has one body: give json or content, not both")
        sent = HTTPHeaderDict(self._headers)
        sent.update(headers or {})
        if json is not None:
            content = orjson.dumps(json)
            sent.setdefault("Content-Type", "application/json")
        url, host = self._url(path, params), self._origin.host
        timeout = self._settings.delivery_timeout if self._timeout is None else self._timeout
        try:
            answer = _calls(self._settings).call(
                method, url, headers=sent, body=content, timeout=timeout, limit=MAX_ANSWER
            )
        except CallFailed as error:
            if error.may_repeat or isinstance(error.__cause__, NotAllowedError):  # the setting may be changed
                raise
            raise GiveUp(f"{host}: {error}") from error
        if 200 <= answer.status < 300 or answer.status in accept:
            return Response(answer.status, HTTPHeaderDict(answer.headers), answer.body, answer.complete, host)
        raise failure(host, answer, {*secret_words(url, sent), *words_of(content), *self._proxy_secrets})

    @cached_property
    def _settings(self) -> Settings:
        return Settings.from_environment()

    @cached_property
    def _proxy_secrets(self) -> set[str]:
        proxy = self._settings.delivery_proxy
        return Proxy.parse(proxy).secrets if proxy else set()

    def _url(self, path: str, params: Mapping[str, object] | None) -> str:
        """Return the URL of a request.

        Raises:
            GiveUp: it has another origin than the base URL, to which the headers must not go.
        """
        url = path
        if not _has_scheme(path):
            url = f"{self._base}{'' if path.startswith(('/', '?')) or not path else '/'}{path}"
        if _origin(url) != self._origin:
            raise GiveUp(f"{self._origin.host}: the URL of a request has another scheme, host or port: give a path")
        if query := urlencode(list(_pairs(params or {}))):
            url = f"{url.partition('#')[0]}{'&' if '?' in url else '?'}{query}"
        return url


def _origin(url: str) -> _Origin | None:
    """Return the origin of a URL; None if it is no URL that can be called."""
    try:
        parts = parse_url(url)
    except LocationParseError:
        return None
    if parts.scheme not in PORTS or parts.port == 0 or parts.auth or not is_host(parts.host or ""):
        return None
    return _Origin(parts.scheme, str(parts.host), parts.port or PORTS[parts.scheme])


def _pairs(params: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    for name, value in params.items():
        several = value if isinstance(value, Sequence) and not isinstance(value, str | bytes) else [value]
        for each in several:
            if each is not None:
                yield name, str(each).lower() if isinstance(each, bool) else str(each)


_lock = threading.Lock()
_senders = lru_cache(maxsize=8)(Senders)  # of this process, by settings: another environment has other connections


def _calls(settings: Settings) -> HttpCalls:
    with _lock:
        return _senders(settings).http_calls


def _forget_connections() -> None:
    """Have a forked process use none of its parent's connections and locks."""
    global _lock
    _lock = threading.Lock()
    _senders.cache_clear()


os.register_at_fork(after_in_child=_forget_connections)
