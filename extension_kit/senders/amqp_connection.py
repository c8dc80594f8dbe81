"""AMQP connection to a broker, with a deadline for everything. Imported on use only, because kombu is an extra."""

import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import kombu
from amqp import transport as amqp_transport
from kombu.transport import pyamqp

from extension_kit.outgoing.deadlines import Deadline, TimedSocket, connect_to, wrap_tls
from extension_kit.senders import Message
from extension_kit.senders.amqp_target import AmqpServer, UnroutableError

_kombu: Any = kombu  # its types are incomplete
_CLOSE_SECONDS = 2.0
_MAX_FRAME = 1024 * 1024  # bytes; eight times the size that is negotiated with the broker


class _TimedTransport:
    """Base of py-amqp's transports: sockets with a deadline, and a limit for frames."""

    deadline: Deadline
    sock: TimedSocket

    def _connect(self, host: str, port: int, timeout: float) -> None:
        self.sock = connect_to(host, port, self.deadline)

    def _get_tcp_socket_defaults(self, sock: TimedSocket) -> dict[int, int]:
        # py-amqp sets options to the values it has read, and the kernel may refuse its own maximum segment size.
        return {}

    def _read(self, n: int, *arguments: Any, **options: Any) -> Any:
        if n > _MAX_FRAME:
            raise OSError("the broker's frame is longer than agreed")
        return super()._read(n, *arguments, **options)  # type: ignore[misc]


class _TCPTransport(_TimedTransport, amqp_transport.TCPTransport):  # type: ignore[misc]
    pass


class _TLSTransport(_TimedTransport, amqp_transport.SSLTransport):  # type: ignore[misc]
    def _wrap_socket(self, sock: TimedSocket, *, verified_by: ssl.SSLContext, name: str) -> Any:
        return wrap_tls(sock, verified_by, name)


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
        except BaseException:  # py-amqp closes its socket only after some failures
            self.collect()
            raise


class Transport(pyamqp.Transport):
    """kombu's transport for AMQP 0-9-1, with connections that have a deadline."""

    Connection = _Connection


class AmqpConnection:
    """A connection with one channel, on which the broker confirms every message.

    Args:
        broker: the broker and the credentials for it.
        address: the IPv4 or IPv6 address to connect to.
        context: verifies the broker; None for a connection without TLS.
        deadline: the deadline for connecting.
        heartbeat: seconds of silence after which the broker may close the connection.
        transport: kombu's name of another transport, such as ``memory``.

    Raises:
        Exception: any error of kombu or py-amqp, if the connection fails.
    """

    def __init__(
        self,
        broker: AmqpServer,
        address: str,
        context: ssl.SSLContext | None,
        deadline: Deadline,
        *,
        heartbeat: float,
        transport: str | None,
    ) -> None:
        self._deadline = deadline
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

    def publish(self, keys: Mapping[str, Any], message: Message, ends_at: float) -> None:
        """Publish a message and wait for the confirmation.

        Raises:
            UnroutableError: the broker returned the message.
            Exception: any error of kombu or py-amqp, if it is not confirmed in time.
        """
        self._deadline.at = ends_at
        self._returned = False
        timeout = self._deadline.left()
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
        if self._returned:
            raise UnroutableError

    def is_usable(self, ends_at: float) -> bool:
        """Return True if nothing has arrived since the last confirmation, such as the broker's closing."""
        self._deadline.at = ends_at
        try:
            self._connection.drain_events(timeout=0)
        except TimeoutError:
            return True
        except Exception:
            return False
        return False

    def close(self) -> None:
        """Close the connection as AMQP demands it, with a message to the broker."""
        self._deadline.at = time.monotonic() + _CLOSE_SECONDS
        with suppress(Exception):
            self._connection.release()

    def abandon(self) -> None:
        """Close the socket only, because the broker may be gone."""
        self._deadline.at = 0.0
        with suppress(Exception):
            self._connection.collect()

    def _on_return(self, *_: Any) -> None:
        self._returned = True
