"""NATS connection for a sender, which calls it from many threads. Imported on use only, because nats-py is an extra."""

import asyncio
import ssl
import time
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from typing import Any

from nats.errors import Error
from nats.js.client import JetStreamContext

from extension_kit.outgoing.nats_client import NatsClient, NatsLogin
from extension_kit.senders import Message
from extension_kit.senders.connection_loop import CONNECTION_LOOP
from extension_kit.senders.nats_target import NatsServer

_SLACK = 5.0  # seconds beyond a timeout
_CLOSE_SECONDS = 3.0


class NatsConnection:
    """A connection on which JetStream confirms every message.

    Args:
        server: the server and the login in its URL.
        address: the IPv4 or IPv6 address to connect to.
        credentials: the text of a credentials file; empty: the login of the URL is used.
        context: verifies the server; None for a connection without TLS.
        timeout: seconds for connecting.

    Raises:
        OSError: there is no connection in time.
        nats.errors.Error: the server refuses the client.
    """

    def __init__(
        self,
        server: NatsServer,
        address: str,
        credentials: str,
        context: ssl.SSLContext | None,
        timeout: float,
    ) -> None:
        login = (
            NatsLogin(credentials=credentials)
            if credentials
            else NatsLogin(server.username, server.password, server.token)
        )
        dialing = NatsClient.dial(
            address, server.port, login=login, tls=context, tls_hostname=server.host, timeout=timeout
        )
        self._client = CONNECTION_LOOP.run(dialing, timeout + _SLACK)
        self._jetstream: JetStreamContext = self._client.jetstream()

    def publish(self, keys: Mapping[str, Any], message: Message, ends_at: float) -> None:
        """Publish a message, and wait until a stream has stored it, or knows it by its id already.

        Raises:
            OSError: there is no confirmation in time.
            nats.errors.Error: the server or the stream refuses the message.
        """
        timeout = max(ends_at - time.monotonic(), 0.001)
        headers = {**message.headers, "Content-Type": message.content_type, "Nats-Msg-Id": message.id}
        publishing = self._jetstream.publish(
            keys["subject"], message.body, timeout=timeout, stream=keys["stream"] or None, headers=headers
        )
        try:
            CONNECTION_LOOP.run(_within(timeout, publishing), timeout + _SLACK)
        except TimeoutError:
            if self._client.refusal:  # a server that lacks a permission for the client says so, and answers nothing
                raise Error(self._client.refusal) from None
            raise

    def is_usable(self, ends_at: float) -> bool:
        """Return True if the server has not closed the connection."""
        return self._client.is_connected

    def close(self) -> None:
        """Close the connection."""
        with suppress(TimeoutError):
            CONNECTION_LOOP.run(self._client.end(), _CLOSE_SECONDS)

    def abandon(self) -> None:
        """Close the connection without waiting for the server, which may be gone."""
        CONNECTION_LOOP.start(self._client.abandon())


async def _within(seconds: float, coroutine: Coroutine[Any, Any, object]) -> None:
    """Wait for a coroutine, and leave it after some seconds: where a server takes nothing, nats-py waits longer.

    Raises:
        TimeoutError: it has not ended in time.
    """
    task = asyncio.ensure_future(coroutine)
    await asyncio.wait({task}, timeout=seconds)
    if not task.done():
        task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # nobody else hears of its error
        task.cancel()
        raise TimeoutError
    task.result()
