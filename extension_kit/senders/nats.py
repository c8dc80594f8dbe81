"""NATS sender: publishes messages to subjects of JetStream's streams. Needs the extra ``nats``."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from marshmallow import ValidationError

from extension_kit.errors import ConfigurationError
from extension_kit.senders import Message, Outcome
from extension_kit.senders.addresses import Addresses, NotAllowedError, UnresolvedError
from extension_kit.senders.excerpts import excerpt, reason
from extension_kit.senders.idle_connections import IdleConnections, NoConnectionError, client_context, dial_first
from extension_kit.senders.nats_target import NatsServer, NatsTarget, parse_server_url
from extension_kit.senders.target_schema import check_headers, not_sent

if TYPE_CHECKING:
    from extension_kit.senders.nats_connection import NatsConnection

_MISSING = "nats-py is not installed: pip install 'extension-kit[nats]'"
_IDLE_CONNECTIONS, _IDLE_SECONDS = 16, 15.0
_BAD_REQUEST = 400  # of JetStream, as for a message that is too large for the stream
_RESERVED_HEADERS = frozenset({"content-type", "nats-msg-id", "nats-expected-stream"})


class NatsSender:
    """Publishes messages to subjects: stored and confirmed by a stream of JetStream, and to checked addresses only.

    ``Nats-Msg-Id`` is the message's id, so a stream keeps one of those that are repeated within its duplicate window.

    A target has these keys:

    - ``url``: ``nats://user:password@host:port`` or ``nats://token@host``; with ``tls``, the server has to speak TLS.
    - ``subject``: without wildcards. A stream has to take it.
    - ``stream``: the name of that stream, if no other may take the message.
    - ``credentials``: the text of a credentials file (``.creds``), in place of a login in the URL.
    - ``timeout``: seconds until the stream's confirmation.

    Args:
        addresses: resolves and checks hosts.
        ca_file: PEM file with CA certificates to trust instead of the system's.
        timeout: seconds for targets without a timeout.

    Raises:
        ConfigurationError: ``ca_file`` cannot be used.
    """

    def __init__(self, addresses: Addresses, *, ca_file: str | None = None, timeout: float = 15.0) -> None:
        self._addresses = addresses
        self._context = client_context(ca_file)
        self._timeout = timeout
        self._schema = NatsTarget()
        self._idle: IdleConnections[NatsConnection] = IdleConnections(
            lambda connection: connection.close(), limit=_IDLE_CONNECTIONS, seconds=_IDLE_SECONDS
        )

    def check(self, target: dict[str, Any]) -> dict[str, str]:
        """Return the problems of a target by key, also if nats-py is not installed."""
        problems = self._schema.problems(target)
        try:
            _connection_class()
        except ConfigurationError as error:
            problems.setdefault("url", str(error))
        return problems

    def close(self) -> None:
        """Close the idle connections."""
        self._idle.close()

    def send(self, target: dict[str, Any], message: Message) -> Outcome:
        """Make one attempt; it fails if no stream confirms the message in time."""
        try:
            keys = self._schema.load(target)
            check_headers(message.headers, _RESERVED_HEADERS)
        except ValidationError as error:
            return not_sent(error)
        server = parse_server_url(keys["url"])
        ends_at = time.monotonic() + (keys["timeout"] or self._timeout)
        try:
            self._publish(server, keys, message, ends_at)
        except NotAllowedError as error:
            return Outcome("refused", str(error))
        except ConfigurationError as error:
            return Outcome("failed", str(error))
        except UnresolvedError as error:
            return Outcome("failed", str(error), unreachable=True)
        except NoConnectionError as error:
            return replace(_failure(server, error.cause), unreachable=error.unreachable)
        except Exception as error:  # nats-py raises undeclared errors, too, when a connection breaks
            return _failure(server, error)
        return Outcome("delivered")

    def _publish(self, server: NatsServer, keys: Mapping[str, Any], message: Message, ends_at: float) -> None:
        addresses = self._addresses.resolve(server.host, server.port, ends_at - time.monotonic())
        credentials = keys["credentials"]
        connection = self._idle_connection(server, addresses, credentials)
        connection = connection or self._connect(server, addresses, credentials, ends_at)
        try:
            connection.publish(keys, message, max(ends_at - time.monotonic(), 0.001))
        except BaseException:
            connection.close()
            raise
        self._idle.release(connection.key, connection)

    def _idle_connection(
        self, server: NatsServer, addresses: Collection[str], credentials: str
    ) -> NatsConnection | None:
        for address in addresses:
            while connection := self._idle.acquire((server, address, credentials)):
                if connection.is_usable:
                    return connection
                connection.close()
        return None

    def _connect(
        self, server: NatsServer, addresses: Collection[str], credentials: str, ends_at: float
    ) -> NatsConnection:
        connection_class = _connection_class()
        context = self._context if server.scheme == "tls" else None

        def dial(address: str, seconds: float) -> NatsConnection:
            return connection_class(server, address, credentials, context, seconds)

        return dial_first(addresses, ends_at, dial)


def _connection_class() -> type[NatsConnection]:
    """Import the class that needs nats-py.

    Raises:
        ConfigurationError: nats-py is not installed.
    """
    try:
        from extension_kit.senders.nats_connection import NatsConnection
    except ImportError:
        raise ConfigurationError(_MISSING) from None
    return NatsConnection


def _failure(server: NatsServer, error: BaseException) -> Outcome:
    code = getattr(error, "code", None)
    if not isinstance(error, OSError):
        from extension_kit.outgoing.nats_client import reason_of_nats  # imported with the connection's class

        said = reason_of_nats(error)
    else:
        said = reason(error)
    told = excerpt(said, [server.password, server.token])
    if not code:
        return Outcome("failed", f"{server.host}: {told or 'failed'}")
    return Outcome("refused" if code == _BAD_REQUEST else "failed", f"{server.host}: answered {code}", code, told)
