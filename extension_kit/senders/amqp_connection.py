"""A connection to a broker. Imported only when it is needed, for kombu is an extra."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import kombu
from kombu.transport import pyamqp

from extension_kit.senders import Message
from extension_kit.senders.amqp_target import Broker

_kombu: Any = kombu  # it has types in part only


class _Connection(pyamqp.Connection):
    def connect(self, callback: Any = None) -> Any:
        try:
            return super().connect(callback)
        except BaseException:  # py-amqp closes its socket after some failures only
            self.collect()
            raise


class Transport(pyamqp.Transport):
    """AMQP 0-9-1."""

    Connection = _Connection


class Link:
    """A connection with one channel, on which the broker confirms every message.

    Args:
        broker: who asks for what.
        address: where the broker is.
        tls: options of py-amqp, or False.
        timeout: seconds for each answer of the broker.
        heartbeat: seconds after which the broker may take a silent connection for dead.
        transport: kombu's name of another one, such as ``memory``.

    Raises:
        Exception: whatever kombu and py-amqp raise when there is no connection.
    """

    def __init__(
        self,
        broker: Broker,
        address: str,
        tls: Mapping[str, Any] | bool,
        *,
        timeout: float,
        heartbeat: float,
        transport: str | None,
    ) -> None:
        self.key = (broker, address)
        self._returned = False
        self._connection = _kombu.Connection(
            hostname=f"[{address}]" if ":" in address else address,
            port=broker.port,
            userid=broker.username,
            password=broker.password,
            virtual_host=broker.virtual_host,
            ssl=tls,
            transport=transport or Transport,
            connect_timeout=timeout,
            heartbeat=heartbeat,
            transport_options={"confirm_publish": True, "read_timeout": timeout, "write_timeout": timeout},
        )
        try:
            self._connection.ensure_connection(max_retries=0)
            channel = self._connection.channel()
            self._producer = self._connection.Producer(channel, auto_declare=False, on_return=self._on_return)
        except BaseException:
            self.abandon()
            raise

    def publish(self, keys: Mapping[str, Any], message: Message, timeout: float) -> bool:
        """Publish a message and wait until the broker has it; return whether it had a queue for it."""
        self._returned = False
        self._producer.publish(
            message.body,
            exchange=keys["exchange"],
            routing_key=keys["routing_key"],
            mandatory=keys["mandatory"],
            delivery_mode="persistent",
            message_id=message.id,
            content_type=message.content_type,
            content_encoding="utf-8",
            headers=dict(message.headers),
            timeout=timeout,
            confirm_timeout=timeout,
        )
        return not self._returned

    @property
    def is_usable(self) -> bool:
        """Whether nothing has come in since the last confirmation, such as the broker's farewell."""
        try:
            self._connection.drain_events(timeout=0)
        except TimeoutError:
            return True
        except Exception:
            return False
        return False

    def close(self) -> None:
        """Take leave of the broker."""
        with suppress(Exception):
            self._connection.release()

    def abandon(self) -> None:
        """Close without a word to a broker that may be gone."""
        with suppress(Exception):
            self._connection.collect()

    def _on_return(self, *_: Any) -> None:
        self._returned = True
