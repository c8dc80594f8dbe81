"""AMQP sender: publishes messages to exchanges of AMQP 0-9-1 brokers such as RabbitMQ. Needs the extra ``amqp``."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from marshmallow import ValidationError

from extension_kit.errors import ConfigurationError
from extension_kit.outgoing.deadlines import Deadline
from extension_kit.senders import Message, Outcome
from extension_kit.senders.addresses import Addresses, NotAllowedError, UnresolvedError
from extension_kit.senders.amqp_target import AmqpTarget, Broker, parse_broker_url
from extension_kit.senders.excerpts import excerpt, reason
from extension_kit.senders.idle_connections import IdleConnections, NoConnectionError, client_context, dial_first
from extension_kit.senders.target_schema import check_headers, not_sent
from extension_kit.senders.traced import traced

if TYPE_CHECKING:
    from extension_kit.senders.amqp_connection import BrokerConnection

_MISSING = "kombu is not installed: pip install 'extension-kit[amqp]'"
_UNROUTABLE = 312
_PERMANENT = (311, 406)  # content too large, precondition failed
_IDLE_CONNECTIONS, _IDLE_SECONDS = 16, 15.0
_MIN_HEARTBEAT = 4 * _IDLE_SECONDS  # brokers must not close idle connections as dead


class AmqpSender:
    """Publishes messages to exchanges: persistent, confirmed by the broker, and to checked addresses only.

    A target has these keys:

    - ``url``: ``amqp://user:password@host:port/virtual-host``, or ``amqps`` for TLS.
    - ``exchange``: an existing exchange. Empty (default) is the default exchange, where a routing key names a queue.
    - ``routing_key``: default empty.
    - ``mandatory``: True to refuse a message that no queue takes; by default the broker drops it.
    - ``timeout``: seconds until the broker's confirmation.

    Args:
        addresses: resolves and checks hosts.
        ca_file: PEM file with CA certificates to trust instead of the system's.
        timeout: seconds for targets without a timeout.
        transport: kombu's name of a transport other than AMQP; ``memory`` needs no broker.

    Raises:
        ConfigurationError: ``ca_file`` cannot be used.
    """

    def __init__(
        self,
        addresses: Addresses,
        *,
        ca_file: str | None = None,
        timeout: float = 15.0,
        transport: str | None = None,
    ) -> None:
        self._addresses = addresses
        self._context = client_context(ca_file)
        self._timeout = timeout
        self._transport = transport
        self._schema = AmqpTarget()
        self._idle: IdleConnections[BrokerConnection] = IdleConnections(
            lambda connection: connection.close(), limit=_IDLE_CONNECTIONS, seconds=_IDLE_SECONDS
        )

    def check(self, target: dict[str, Any]) -> dict[str, str]:
        """Return the problems of a target by key, also if kombu is not installed."""
        problems = self._schema.problems(target)
        try:
            _connection_class()
        except ConfigurationError as error:
            problems.setdefault("url", str(error))
        return problems

    def close(self) -> None:
        """Close the idle connections."""
        self._idle.close()

    @traced("publish", {"messaging.system": "rabbitmq"}, with_headers=True)
    def send(self, target: dict[str, Any], message: Message) -> Outcome:
        """Make one attempt; it fails if the broker does not confirm the message in time."""
        try:
            keys = self._schema.load(target)
            check_headers(message.headers)
        except ValidationError as error:
            return not_sent(error)
        broker = parse_broker_url(keys["url"])
        ends_at = time.monotonic() + (keys["timeout"] or self._timeout)
        try:
            routed = self._publish(broker, keys, message, ends_at)
        except NotAllowedError as error:
            return Outcome("refused", str(error))
        except ConfigurationError as error:
            return Outcome("failed", str(error))
        except UnresolvedError as error:
            return Outcome("failed", str(error), unreachable=True)
        except NoConnectionError as error:
            return replace(_failure(broker, error.cause), unreachable=error.unreachable)
        except Exception as error:  # py-amqp raises undeclared errors, too, when a connection breaks
            return _failure(broker, error.__cause__ or error)
        if not routed:
            return Outcome("refused", f"{broker.host}: no queue takes the message", _UNROUTABLE)
        return Outcome("delivered")

    def _publish(self, broker: Broker, keys: Mapping[str, Any], message: Message, ends_at: float) -> bool:
        addresses = self._addresses.resolve(broker.host, broker.port, ends_at - time.monotonic())
        connection = self._idle_connection(broker, addresses, ends_at) or self._connect(broker, addresses, ends_at)
        connection.deadline.at = ends_at
        try:
            routed = connection.publish(keys, message)
        except BaseException:
            connection.abandon()
            raise
        self._idle.release(connection.key, connection)
        return routed

    def _idle_connection(self, broker: Broker, addresses: Collection[str], ends_at: float) -> BrokerConnection | None:
        for address in addresses:
            if connection := self._idle.acquire((broker, address)):
                connection.deadline.at = ends_at
                if connection.is_usable:
                    return connection
                connection.abandon()
        return None

    def _connect(self, broker: Broker, addresses: Collection[str], ends_at: float) -> BrokerConnection:
        connection_class = _connection_class()

        def dial(address: str, seconds: float) -> BrokerConnection:
            return connection_class(
                broker,
                address,
                self._context if broker.scheme == "amqps" else None,
                Deadline(time.monotonic() + seconds),
                heartbeat=max(_MIN_HEARTBEAT, 4 * seconds),
                transport=self._transport,
            )

        return dial_first(addresses, ends_at, dial)


def _connection_class() -> type[BrokerConnection]:
    """Import the class that needs kombu.

    Raises:
        ConfigurationError: kombu is not installed.
    """
    try:
        from extension_kit.senders.amqp_connection import BrokerConnection
    except ImportError:
        raise ConfigurationError(_MISSING) from None
    return BrokerConnection


def _failure(broker: Broker, error: BaseException) -> Outcome:
    code = getattr(error, "reply_code", None)
    if not code:
        return Outcome("failed", f"{broker.host}: {_safe_excerpt(reason(error), broker) or 'failed'}")
    said = _safe_excerpt(str(getattr(error, "reply_text", "")), broker)
    return Outcome("refused" if code in _PERMANENT else "failed", f"{broker.host}: answered {code}", code, said)


def _safe_excerpt(text: str, broker: Broker) -> str | None:
    return excerpt(text, [broker.password])
