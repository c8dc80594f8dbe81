"""AMQP sender: publishes messages to exchanges of AMQP 0-9-1 brokers such as RabbitMQ. Needs the extra ``amqp``."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from extension_kit.errors import ConfigurationError
from extension_kit.outgoing.deadlines import Deadline
from extension_kit.senders import Message, Outcome
from extension_kit.senders.addresses import Addresses
from extension_kit.senders.amqp_target import AmqpServer, AmqpTarget, UnroutableError, parse_server_url
from extension_kit.senders.broker_sender import IDLE_SECONDS, BrokerSender
from extension_kit.senders.excerpts import excerpt, reason
from extension_kit.senders.traced import traced

if TYPE_CHECKING:
    from extension_kit.senders.amqp_connection import AmqpConnection

_MISSING = "kombu is not installed: pip install 'extension-kit[amqp]'"
_UNROUTABLE = 312
_PERMANENT = (311, 406)  # content too large, precondition failed
_MIN_HEARTBEAT = 4 * IDLE_SECONDS  # brokers must not close idle connections as dead


class AmqpSender(BrokerSender["AmqpServer", "AmqpConnection"]):
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

    schema = AmqpTarget()

    def __init__(
        self,
        addresses: Addresses,
        *,
        ca_file: str | None = None,
        timeout: float = 15.0,
        transport: str | None = None,
    ) -> None:
        super().__init__(addresses, ca_file=ca_file, timeout=timeout)
        self._transport = transport

    @traced("publish", {"messaging.system": "rabbitmq"}, with_headers=True)
    def send(self, target: dict[str, Any], message: Message) -> Outcome:
        """Make one attempt; it fails if the broker does not confirm the message in time."""
        return self.attempt(target, message)

    def parse(self, url: str) -> AmqpServer:
        return parse_server_url(url)

    def import_library(self) -> None:
        _connection_class()

    def dial(self, broker: AmqpServer, address: str, keys: Mapping[str, Any], seconds: float) -> AmqpConnection:
        return _connection_class()(
            broker,
            address,
            self.context if broker.scheme == "amqps" else None,
            Deadline(time.monotonic() + seconds),
            heartbeat=max(_MIN_HEARTBEAT, 4 * seconds),
            transport=self._transport,
        )

    def failure(self, broker: AmqpServer, error: BaseException) -> Outcome:
        if isinstance(error, UnroutableError):
            return Outcome("refused", f"{broker.host}: no queue takes the message", _UNROUTABLE)
        error = error.__cause__ or error  # kombu wraps the errors of py-amqp in its own
        code = getattr(error, "reply_code", None)
        if not code:
            return Outcome("failed", f"{broker.host}: {excerpt(reason(error), [broker.password]) or 'failed'}")
        said = excerpt(str(getattr(error, "reply_text", "")), [broker.password])
        return Outcome("refused" if code in _PERMANENT else "failed", f"{broker.host}: answered {code}", code, said)


def _connection_class() -> type[AmqpConnection]:
    """Import the class that needs kombu.

    Raises:
        ConfigurationError: kombu is not installed.
    """
    try:
        from extension_kit.senders.amqp_connection import AmqpConnection
    except ImportError:
        raise ConfigurationError(_MISSING) from None
    return AmqpConnection
