"""A connection to a broker. Imported only when it is needed, for kombu is an extra."""

import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import kombu
from amqp import transport as amqp_transport
from kombu.transport import pyamqp

from extension_kit.outgoing.deadlines import Deadline, TimedSocket, connected_to, secured
from extension_kit.senders import Message
from extension_kit.senders.amqp_target import Broker

_kombu: Any = kombu  # it has types in part only
_FAREWELL_SECONDS = 2.0
_MAX_FRAME = 1024 * 1024  # bytes; what is agreed on is an eighth of it


class _Timed:
    """What py-amqp's transports do, on sockets with a deadline, and without frames that fill the memory."""

    deadline: Deadline
    sock: TimedSocket

    def _connect(self, host: str, port: int, timeout: float) -> None:
        self.sock = connected_to(host, port, self.deadline)

    def _get_tcp_socket_defaults(self, sock: TimedSocket) -> dict[int, int]:
        # py-amqp writes options back as it has read them, and the kernel may refuse its own: the largest segment.
        return {}

    def _read(self, n: int, *arguments: Any, **options: Any) -> Any:
        if n > _MAX_FRAME:
            raise OSError("the broker's frame is longer than agreed")
        return super()._read(n, *arguments, **options)  # type: ignore[misc]


class _TCPTransport(_Timed, amqp_transport.TCPTransport):  # type: ignore[misc]
    pass


class _TLSTransport(_Timed, amqp_transport.SSLTransport):  # type: ignore[misc]
    def _wrap_socket(self, sock: TimedSocket, *, verified_by: ssl.SSLContext, name: str) -> Any:
        return secured(sock, verified_by, name)


class _Connection(pyamqp.Connection):
    def __init__(self, *arguments: Any, deadline: Deadline, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._deadline = deadline

    def Transport(self, host: str, connect_timeout: float, ssl: Any = False, *arguments: Any, **options: Any) -> Any:  # noqa: N802
        transport = (_TLSTransport if ssl else _TCPTransport)(host, connect_timeout, ssl=ssl)
        transport.deadline = self._deadline
        return transport

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
        context: verifies the broker; None where it does without TLS.
        deadline: the end of the time for this, and then for each message; to be moved.
        heartbeat: seconds after which the broker may take a silent connection for dead.
        transport: kombu's name of another one, such as ``memory``.

    Raises:
        Exception: whatever kombu and py-amqp raise when there is no connection.
    """

    def __init__(
        self,
        broker: Broker,
        address: str,
        context: ssl.SSLContext | None,
        deadline: Deadline,
        *,
        heartbeat: float,
        transport: str | None,
    ) -> None:
        self.key = (broker, address)
        self.deadline = deadline
        self._returned = False
        timeout = deadline.left()
        self._connection = _kombu.Connection(
            hostname=f"[{address}]" if ":" in address else address,
            port=broker.port,
            userid=broker.username,
            password=broker.password,
            virtual_host=broker.virtual_host,
            ssl={"verified_by": context, "name": broker.host} if context else False,
            transport=transport or Transport,
            connect_timeout=timeout,
            heartbeat=heartbeat,
            transport_options={"confirm_publish": True, "deadline": deadline},
        )
        try:
            self._connection.ensure_connection(max_retries=0)
            channel = self._connection.channel()
            self._producer = self._connection.Producer(channel, auto_declare=False, on_return=self._on_return)
        except BaseException:
            self.abandon()
            raise

    def publish(self, keys: Mapping[str, Any], message: Message) -> bool:
        """Publish a message and wait until the broker has it; return whether it had a queue for it."""
        self._returned = False
        timeout = self.deadline.left()
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
        self.deadline.at = time.monotonic() + _FAREWELL_SECONDS
        with suppress(Exception):
            self._connection.release()

    def abandon(self) -> None:
        """Close without a word to a broker that may be gone."""
        self.deadline.at = 0.0
        with suppress(Exception):
            self._connection.collect()

    def _on_return(self, *_: Any) -> None:
        self._returned = True
