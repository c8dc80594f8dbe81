"""Webhooks: an HTTP request for each attempt."""

import time
from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from http.client import HTTPException
from importlib.metadata import version
from typing import Any

from marshmallow import ValidationError
from urllib3 import HTTPHeaderDict
from urllib3.util import parse_url

from extension_kit.outgoing.proxies import Proxy, ProxyError
from extension_kit.senders import Message, Outcome
from extension_kit.senders.addresses import Addresses, NotAllowedError, UnresolvedError
from extension_kit.senders.excerpts import excerpt, reason, retry_after, secret_words
from extension_kit.senders.http_client import HttpAnswer, HttpClient, HttpRequest
from extension_kit.senders.http_target import PORTS, RESERVED_HEADERS, HttpTarget
from extension_kit.senders.idle_connections import NoConnectionError, client_context
from extension_kit.senders.signatures import signature_headers
from extension_kit.senders.target_schema import check_headers, not_sent

MAX_RETRY_AFTER = 86400.0
_IDLE_CONNECTIONS, _IDLE_SECONDS = 100, 15.0
_HINTS = {1: ", a protocol that nobody asked for", 3: ", and redirects are not followed"}
_USER_AGENT = f"extension-kit/{version('extension-kit')}"


class HttpSender:
    """Sends a message as an HTTP request, to addresses that were checked only. Redirects are not followed.

    A target has these keys:

    - ``url``: http or https.
    - ``method``: POST (default), PUT, PATCH, DELETE or GET.
    - ``headers``: by name, in ASCII. They replace those of the message.
    - ``secret``: signs what is sent as Standard Webhooks say. Several are separated by blanks.
    - ``username``, ``password``: HTTP basic authentication.
    - ``ok``: statuses by which the receiver says that it has the message; default 200 to 299.
    - ``give_up_on``: statuses after which no attempt is made again; default 410 (Gone).
    - ``timeout``: seconds until the receiver has to have answered.

    Args:
        addresses: what may be dialled.
        ca_file: PEM file with the authorities to trust instead of the system's.
        timeout: of targets that have none.
        proxy: through which all requests go. It resolves the names, and has to judge the addresses.

    Raises:
        ConfigurationError: the authorities cannot be used.
    """

    def __init__(
        self,
        addresses: Addresses,
        *,
        ca_file: str | None = None,
        timeout: float = 15.0,
        proxy: Proxy | None = None,
    ) -> None:
        self._timeout = timeout
        self._schema = HttpTarget()
        self._hidden = proxy.secrets if proxy else set()
        # A receiver may close a connection at any moment, and that is no failure of its. If it did get the message, it
        # knows it by its id.
        self._client = HttpClient(
            addresses,
            client_context(ca_file),
            idle=_IDLE_CONNECTIONS,
            idle_seconds=_IDLE_SECONDS,
            proxy=proxy,
            resends=True,
        )

    def check(self, target: dict[str, Any]) -> dict[str, str]:
        """Say what is wrong with a target, by key."""
        return self._schema.problems(target)

    def close(self) -> None:
        """Close the connections that are kept open."""
        self._client.close()

    def send(self, target: dict[str, Any], message: Message) -> Outcome:
        """Make one attempt, which ends within the target's timeout.

        It counts as delivered as soon as the receiver has said so: the rest of its answer is read for the excerpt only.
        """
        try:
            keys = self._schema.load(target)
            request = self._request(keys, message)
        except ValidationError as error:
            return not_sent(error)
        except UnicodeDecodeError:
            return Outcome("refused", "a body that is not UTF-8 cannot be signed")
        try:
            answer = self._client.ask(request)
        except NotAllowedError as error:
            return Outcome("refused", str(error))
        except UnresolvedError as error:
            return Outcome("failed", str(error), unreachable=True)
        except NoConnectionError as error:
            return Outcome("failed", f"{request.host}: {reason(error.cause)}", unreachable=error.unreachable)
        except ProxyError as error:
            return Outcome("failed", f"{request.host}: {error}")
        except OSError as error:
            return Outcome("failed", f"{request.host}: {reason(error)}")
        except HTTPException:  # its text is what the receiver sent
            return Outcome("failed", f"{request.host}: the answer is not HTTP")
        return self._outcome(keys, answer)

    def _request(self, keys: Mapping[str, Any], message: Message) -> HttpRequest:
        url = parse_url(keys["url"])
        port = url.port or PORTS[str(url.scheme)]
        headers = HTTPHeaderDict({"User-Agent": _USER_AGENT, "Content-Type": message.content_type})
        headers.update(message.headers)
        headers.update(keys["headers"])
        check_headers(headers, RESERVED_HEADERS)
        check_headers({"webhook-id": message.id})
        if keys["username"]:
            headers["Authorization"] = f"Basic {_credentials(keys)}"
        headers["Host"] = str(url.host) if port == PORTS[str(url.scheme)] else f"{url.host}:{port}"
        headers["webhook-id"] = message.id
        if keys["secret"]:
            headers.update(signature_headers(keys["secret"], message.id, message.body, datetime.now(UTC)))
        ends_at = time.monotonic() + (keys["timeout"] or self._timeout)
        host, body = str(url.host).strip("[]"), message.body or None
        return HttpRequest(keys["method"], str(url.scheme), host, port, url.request_uri, headers, body, ends_at)

    def _outcome(self, keys: Mapping[str, Any], answer: HttpAnswer) -> Outcome:
        secrets = {keys["password"], _credentials(keys), *keys["secret"].split(), *self._hidden}
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
