"""Webhook sender: makes one HTTP request for each attempt."""

import time
from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from marshmallow import ValidationError
from urllib3 import HTTPHeaderDict
from urllib3.util import parse_url

from extension_kit.outgoing.proxies import Proxy
from extension_kit.senders import Message, Outcome
from extension_kit.senders.addresses import Addresses
from extension_kit.senders.ca_files import CaFileError, CaFiles
from extension_kit.senders.excerpts import excerpt, retry_after, secret_words
from extension_kit.senders.http_calls import USER_AGENT, CallFailed, exchange, host_header
from extension_kit.senders.http_client import EXCERPT_SECONDS, HttpAnswer, HttpClient, HttpRequest
from extension_kit.senders.http_target import PORTS, RESERVED_HEADERS, HttpTarget
from extension_kit.senders.idle_connections import client_context
from extension_kit.senders.signatures import signature_headers
from extension_kit.senders.target_schema import check_headers, not_sent

MAX_RETRY_AFTER = 86400.0
_IDLE_CONNECTIONS, _IDLE_SECONDS = 100, 15.0
_HINTS = {1: ", a protocol that was not requested", 3: ", and redirects are not followed"}


class HttpSender:
    """Sends a message as an HTTP request, to checked addresses only. Redirects are not followed.

    A target has these keys:

    - ``url``: http or https.
    - ``method``: POST (default), PUT, PATCH, DELETE or GET.
    - ``headers``: values by name, in ASCII. They replace headers of the message.
    - ``secret``: secret for a signature by Standard Webhooks. Several are separated by blanks.
    - ``username``, ``password``: credentials for HTTP basic authentication.
    - ``ok``: statuses of success; default 200 to 299.
    - ``give_up_on``: statuses after which the delivery is not retried; default 410 (Gone).
    - ``timeout``: seconds until the receiver's answer.
    - ``ca_file``: PEM file with CA certificates to trust for this target instead of all others. It must be in the
      folder of ``ca_files``; a renewed file is used from the next attempt on. It does not verify the proxy.

    Args:
        addresses: resolves and checks hosts; not used with a proxy.
        ca_file: PEM file with CA certificates to trust instead of the system's.
        timeout: seconds for targets without a timeout.
        proxy: the proxy for all requests. It resolves the names, and has to check the addresses.
        idle: maximum number of connections to keep for later requests.
        excerpt_seconds: seconds to wait for the body of an answer.
        ca_files: files that targets may name; None: targets may name none.

    Raises:
        ConfigurationError: ``ca_file`` cannot be used.
    """

    def __init__(
        self,
        addresses: Addresses,
        *,
        ca_file: str | None = None,
        timeout: float = 15.0,
        proxy: Proxy | None = None,
        idle: int = _IDLE_CONNECTIONS,
        excerpt_seconds: float = EXCERPT_SECONDS,
        ca_files: CaFiles | None = None,
    ) -> None:
        self._timeout = timeout
        self._ca_files = ca_files or CaFiles(None)
        self._schema = HttpTarget()
        self._proxy_secrets = proxy.secrets if proxy else set()
        # A receiver may close an idle connection at any moment, which is no failure. If it did get the message, it can
        # detect the duplicate by its id.
        self._client = HttpClient(
            addresses,
            client_context(ca_file),
            idle=idle,
            idle_seconds=_IDLE_SECONDS,
            proxy=proxy,
            resends=True,
            excerpt_seconds=excerpt_seconds,
        )

    def check(self, target: dict[str, Any]) -> dict[str, str]:
        """Return the problems of a target by key."""
        problems = self._schema.problems(target)
        if not problems and target.get("ca_file"):
            try:
                self._ca_files.context(target["ca_file"])
            except CaFileError as error:
                problems["ca_file"] = str(error)
        return problems

    def close(self) -> None:
        """Close the idle connections."""
        self._client.close()

    def send(self, target: dict[str, Any], message: Message) -> Outcome:
        """Make one attempt, which ends within the target's timeout.

        The status decides as soon as it has arrived; the body of the answer is read for the excerpt only.
        """
        try:
            keys = self._schema.load(target)
            request = self._request(keys, message)
        except ValidationError as error:
            return not_sent(error)
        except UnicodeDecodeError:
            return Outcome("refused", "a body that is not UTF-8 cannot be signed")
        except CaFileError as error:  # it may be put there, or be written at this moment
            return Outcome("failed", f"not sent: ca_file: {error}")
        try:
            answer = exchange(self._client, request)
        except CallFailed as error:
            return Outcome("failed" if error.may_repeat else "refused", str(error), unreachable=error.unreachable)
        return self._outcome(keys, answer)

    def _request(self, keys: Mapping[str, Any], message: Message) -> HttpRequest:
        url = parse_url(keys["url"])
        port = url.port or PORTS[str(url.scheme)]
        headers = HTTPHeaderDict({"User-Agent": USER_AGENT, "Content-Type": message.content_type})
        headers.update(message.headers)
        headers.update(keys["headers"])
        check_headers(headers, RESERVED_HEADERS)
        check_headers({"webhook-id": message.id})
        if keys["username"]:
            headers["Authorization"] = f"Basic {_credentials(keys)}"
        headers["Host"] = host_header(str(url.scheme), str(url.host), port)
        headers["webhook-id"] = message.id
        if keys["secret"]:
            headers.update(signature_headers(keys["secret"], message.id, message.body, datetime.now(UTC)))
        ends_at = time.monotonic() + (keys["timeout"] or self._timeout)
        host, body = str(url.host).strip("[]"), message.body or None
        tls = self._ca_files.context(keys["ca_file"]) if keys["ca_file"] else None
        return HttpRequest(keys["method"], str(url.scheme), host, port, url.request_uri, headers, body, ends_at, tls)

    def _outcome(self, keys: Mapping[str, Any], answer: HttpAnswer) -> Outcome:
        secrets = {keys["password"], _credentials(keys), *keys["secret"].split(), *self._proxy_secrets}
        said = excerpt(answer.body, secrets | secret_words(keys["url"], keys["headers"]))
        status = answer.status
        if status in keys["ok"]:
            return Outcome("delivered", status=status, excerpt=said)
        error = f"answered {status}" + _HINTS.get(status // 100, "")
        if status in keys["give_up_on"]:
            return Outcome("refused", error, status, said)
        return Outcome(
            "failed", error, status, said, retry_after(answer.headers.get("Retry-After", ""), MAX_RETRY_AFTER)
        )


def _credentials(keys: Mapping[str, Any]) -> str:
    return b64encode(f"{keys['username']}:{keys['password']}".encode()).decode()
