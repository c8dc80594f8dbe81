"""Transport that sends the head and the body of an answer by one system call."""

import asyncio
from collections.abc import Callable
from typing import Any


class CoalescingTransport:
    """Sends two consecutive writes, a head and a body, as one.

    A single write is sent in the loop's next iteration. Writes to a client that has left are dropped: uvloop raises an
    error for them.

    Args:
        transport: the transport.
        loop: its event loop.
        on_close: closes the transport instead of ``transport.close``.
    """

    __slots__ = ("_closed", "_held", "_loop", "_on_close", "_transport")

    def __init__(
        self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, on_close: Callable[[], None] | None = None
    ) -> None:
        self._transport = transport
        self._loop = loop
        self._on_close = on_close or transport.close
        self._held = b""
        self._closed = False

    def write(self, data: bytes) -> None:
        if self._held:
            self.write_at_once(data)
        elif data:
            self._held = data
            self._loop.call_soon(self._send)

    def close(self) -> None:
        if not self._closed:
            self._send()
            self._closed = True
            self._on_close()

    def is_closing(self) -> bool:
        return self._closed or self._transport.is_closing()

    def _send(self) -> None:
        if self._held:
            self.write_at_once(b"")

    def write_at_once(self, data: bytes) -> None:
        """Write a complete answer, or the rest of one, without waiting for more."""
        held, self._held = self._held, b""
        if not self._closed and not self._transport.is_closing():
            self._transport.write(held + data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
