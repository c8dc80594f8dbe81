"""Messages to exchanges of AMQP 0-9-1 brokers such as RabbitMQ. Needs the extra ``amqp``."""

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
from extension_kit.senders.amqp_target import AmqpTarget, Broker, broker_of
from extension_kit.senders.excerpts import excerpt, reason
from extension_kit.senders.idle_connections import IdleConnections, NoConnectionError, client_context, dial_in_turn
from extension_kit.senders.target_schema import check_headers, not_sent

if TYPE_CHECKING:
    from extension_kit.senders.amqp_connection import Link

_MISSING = "kombu is not installed: pip install 'extension-kit[amqp]'"
_UNROUTABLE = 312
_FOR_GOOD = (311, 406)  # content too large, precondition failed
_IDLE_CONNECTIONS, _IDLE_SECONDS = 16, 15.0
_MIN_HEARTBEAT = 4 * _IDLE_SECONDS  # long enough that no connection that waits here is thought dead


class AmqpSender:
    """Publishes messages to exchanges, persistent and confirmed by the broker, to addresses that were checked only.

    A target has these keys:

    - ``url``: ``amqp://user:password@host:port/virtual-host``, or ``amqps`` for TLS.
    - ``exchange``: it has to exist. Empty (default) stands for the broker's own, which knows all queues by their names.
    - ``routing_key``: default empty.
    - ``mandatory``: whether a message that no queue takes is refused; by default the broker drops it.
    - ``timeout``: seconds until the broker has to have confirmed.

    Args:
        addresses: what may be dialled.
        ca_file: PEM file with the authorities to trust instead of the system's.
        timeout: of targets that have none.
        transport: kombu's name of another one than AMQP's; ``memory`` needs no broker.

    Raises:
        ConfigurationError: the authorities cannot be used.
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
        self._idle: IdleConnections[Link] = IdleConnections(
            lambda link: link.close(), limit=_IDLE_CONNECTIONS, seconds=_IDLE_SECONDS
        )

    def check(self, target: dict[str, Any]) -> dict[str, str]:
        """Say what is wrong with a target, by key."""
        problems = self._schema.problems(target)
        try:
            _link_class()
        except ConfigurationError as error:
            problems.setdefault("url", str(error))
        return problems

    def close(self) -> None:
        """Close the connections that are kept open."""
        self._idle.close()

    def send(self, target: dict[str, Any], message: Message) -> Outcome:
        """Make one attempt. It has failed if the broker does not confirm the message in time."""
        try:
            keys = self._schema.load(target)
            check_headers(message.headers)
        except ValidationError as error:
            return not_sent(error)
        broker = broker_of(keys["url"])
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
        except Exception as error:  # py-amqp lets more through than it declares when a connection breaks
            return _failure(broker, error.__cause__ or error)
        if not routed:
            return Outcome("refused", f"{broker.host}: no queue takes the message", _UNROUTABLE)
        return Outcome("delivered")

    def _publish(self, broker: Broker, keys: Mapping[str, Any], message: Message, ends_at: float) -> bool:
        addresses = self._addresses.of(broker.host, broker.port, ends_at - time.monotonic())
        link = self._reusable(broker, addresses, ends_at) or self._connect(broker, addresses, ends_at)
        link.deadline.at = ends_at
        try:
            routed = link.publish(keys, message)
        except BaseException:
            link.abandon()
            raise
        self._idle.give(link.key, link)
        return routed

    def _reusable(self, broker: Broker, addresses: Collection[str], ends_at: float) -> Link | None:
        for address in addresses:
            if link := self._idle.take((broker, address)):
                link.deadline.at = ends_at
                if link.is_usable:
                    return link
                link.abandon()
        return None

    def _connect(self, broker: Broker, addresses: Collection[str], ends_at: float) -> Link:
        link_class = _link_class()

        def dial(address: str, seconds: float) -> Link:
            return link_class(
                broker,
                address,
                self._context if broker.scheme == "amqps" else None,
                Deadline(time.monotonic() + seconds),
                heartbeat=max(_MIN_HEARTBEAT, 4 * seconds),
                transport=self._transport,
            )

        return dial_in_turn(addresses, ends_at, dial)


def _link_class() -> type[Link]:
    """What needs kombu.

    Raises:
        ConfigurationError: it has to be installed.
    """
    try:
        from extension_kit.senders.amqp_connection import Link
    except ImportError:
        raise ConfigurationError(_MISSING) from None
    return Link


def _failure(broker: Broker, error: BaseException) -> Outcome:
    code = getattr(error, "reply_code", None)
    if not code:
        return Outcome("failed", f"{broker.host}: {_safe(reason(error), broker) or 'failed'}")
    said = _safe(str(getattr(error, "reply_text", "")), broker)
    return Outcome("refused" if code in _FOR_GOOD else "failed", f"{broker.host}: answered {code}", code, said)


def _safe(text: str, broker: Broker) -> str | None:
    return excerpt(text, [broker.password])
