"""Webhooks: an HTTP request for each attempt."""

import ssl
import time
from base64 import b64encode
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPException, HTTPMessage, HTTPResponse
from importlib.metadata import version
from typing import Any, NamedTuple

from marshmallow import ValidationError
from urllib3 import HTTPHeaderDict
from urllib3.util import Url, parse_url

from extension_kit.senders import Message, Outcome
from extension_kit.senders.addresses import Addresses, NotAllowedError, UnresolvedError
from extension_kit.senders.excerpts import excerpt, reason, secret_words
from extension_kit.senders.http_connection import CheckedConnection, timed
from extension_kit.senders.http_target import PORTS, RESERVED_HEADERS, HttpTarget
from extension_kit.senders.idle_connections import IdleConnections, NoConnectionError, client_context, dial_in_turn
from extension_kit.senders.signatures import signature_headers
from extension_kit.senders.target_schema import check_headers, not_sent

MAX_RETRY_AFTER = 86400.0
_ANSWER_BYTES = 64 * 1024
_IDLE_CONNECTIONS, _IDLE_SECONDS = 100, 15.0
_USER_AGENT = f"extension-kit/{version('extension-kit')}"
_CLOSED = (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError)


class _Request(NamedTuple):
    method: str
    url: Url
    headers: HTTPHeaderDict
    body: bytes | None
    host: str
    port: int
    ends_at: float


class _Answer(NamedTuple):
    status: int
    headers: HTTPMessage
    body: bytes


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

    Raises:
        ConfigurationError: the authorities cannot be used.
    """

    def __init__(self, addresses: Addresses, *, ca_file: str | None = None, timeout: float = 15.0) -> None:
        self._addresses = addresses
        self._context = timed(client_context(ca_file))
        self._timeout = timeout
        self._schema = HttpTarget()
        self._idle: IdleConnections[CheckedConnection] = IdleConnections(
            CheckedConnection.close, limit=_IDLE_CONNECTIONS, seconds=_IDLE_SECONDS
        )

    def check(self, target: dict[str, Any]) -> dict[str, str]:
        """Say what is wrong with a target, by key."""
        return self._schema.problems(target)

    def close(self) -> None:
        """Close the connections that are kept open."""
        self._idle.close()

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
            answer = self._exchange(request)
        except NotAllowedError as error:
            return Outcome("refused", str(error))
        except UnresolvedError as error:
            return Outcome("failed", str(error), unreachable=True)
        except NoConnectionError as error:
            return Outcome("failed", f"{request.host}: {reason(error.cause)}", unreachable=error.unreachable)
        except OSError as error:
            return Outcome("failed", f"{request.host}: {reason(error)}")
        except HTTPException:  # its text is what the receiver sent
            return Outcome("failed", f"{request.host}: the answer is not HTTP")
        return _outcome(keys, answer)

    def _request(self, keys: Mapping[str, Any], message: Message) -> _Request:
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
        host = str(url.host).strip("[]")
        return _Request(keys["method"], url, headers, message.body or None, host, port, ends_at)

    def _exchange(self, request: _Request) -> _Answer:
        addresses = self._addresses.of(request.host, request.port, request.ends_at - time.monotonic())
        name = request.host.rstrip(".") if request.url.scheme == "https" else None
        for address in addresses:
            connection = self._idle.take((address, request.port, name))
            if connection and connection.is_usable:
                # The other end may close it at any moment, and that is no failure of the receiver's. If it did get the
                # message, it knows it by its id.
                with suppress(*_CLOSED):
                    return self._ask(connection, request)
            elif connection:
                connection.close()

        def dial(address: str, seconds: float) -> CheckedConnection:
            connection = CheckedConnection(address, request.port, name, self._context)
            connection.end_at(time.monotonic() + seconds)
            connection.connect()
            return connection

        return self._ask(dial_in_turn(addresses, request.ends_at, dial), request)

    def _ask(self, connection: CheckedConnection, request: _Request) -> _Answer:
        connection.end_at(request.ends_at)
        with ExitStack() as closing:
            closing.callback(connection.close)
            with suppress(BrokenPipeError, ConnectionResetError):  # it may have answered before it had read everything
                connection.request(request.method, request.url.request_uri, request.body, request.headers)
            response = closing.enter_context(connection.getresponse())
            body, complete = _read(response)
            # After a provisional answer the real one would be taken for that of the next request.
            if complete and response.status >= 200 and connection.sock is not None:
                closing.pop_all()
                self._idle.give(connection.key, connection)
            return _Answer(response.status, response.headers, body)


def _credentials(keys: Mapping[str, Any]) -> str:
    return b64encode(f"{keys['username']}:{keys['password']}".encode()).decode()


def _read(response: HTTPResponse) -> tuple[bytes, bool]:
    """The beginning of an answer's body, and whether it was all of it."""
    try:
        body = response.read(_ANSWER_BYTES)
    except (OSError, HTTPException):
        return b"", False
    return body, response.isclosed()


def _outcome(keys: Mapping[str, Any], answer: _Answer) -> Outcome:
    secrets = {keys["password"], _credentials(keys), *keys["secret"].split()}
    said = excerpt(answer.body, secrets | secret_words(keys["url"], keys["headers"]))
    status = answer.status
    if status in keys["ok"]:
        return Outcome("delivered", status=status, excerpt=said)
    error = f"answered {status}" + (", and redirects are not followed" if 300 <= status < 400 else "")
    if status in keys["give_up_on"]:
        return Outcome("refused", error, status, said)
    return Outcome("failed", error, status, said, _retry_after(answer.headers.get("Retry-After", "")))


def _retry_after(value: str) -> float | None:
    """Seconds, from a number or a date (RFC 9110, section 10.2.3); None where there is nothing to wait for."""
    try:
        seconds = float(value) if value.isdecimal() else parsedate_to_datetime(value).timestamp() - time.time()
    except (ValueError, OverflowError):
        return None
    return min(seconds, MAX_RETRY_AFTER) if seconds > 0 else None
