"""HTTP/1.1 protocol of uvicorn with limits on each client's time, memory and connections."""

import asyncio
import logging
from math import inf
from operator import itemgetter
from typing import Any, cast

from extension_kit.server.coalescing_transport import CoalescingTransport
from extension_kit.server.http_parsing import ParsingProtocol
from extension_kit.web.peer_certificate import PEER_CERTIFICATE

logger = logging.getLogger("extension_kit.web")

_STOP_DELAY = 0.5  # seconds in which a stopping server still takes a request on its way to an idle connection
_MIN_IDLE = 5.0  # seconds a client may be idle when another needs its connection
_LINGER = 2.0  # minimum seconds in which a client that still sends can read the answer that ends its connection


class LimitedHttpProtocol(ParsingProtocol):
    """A connection with bounds on the time that its client takes, and on the number of connections.

    * A client has a time limit to send a request, head and body, from its first byte on, or from the opening of the
      connection for the first request. uvicorn itself times only the pause between requests. There is a limit for
      taking an answer, too.
    * A connection that ends while its client still sends is read from for a while: closing it at once would discard
      the answer on its way.

    Args:
        arguments: those of ``ParsingProtocol``.
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._raw_transport: asyncio.Transport
        self._writing_since: float | None = None
        self._idle_since: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._raw_transport = transport
        if certificate := transport.get_extra_info("peercert"):
            # uvicorn copies this into the scope of each request, so that it costs nothing without a certificate.
            self.app_state = {**self.app_state, PEER_CERTIFICATE: certificate}
        self._coalescing = CoalescingTransport(transport, self.loop, self._close)
        super().connection_made(cast(asyncio.Transport, self._coalescing))
        self._reading_since = self.loop.time()
        if len(self.connections) > self._limits.connections and not self._evict_idle():
            self._refuse(503, "Too many connections are open", b"retry-after: 1\r\n")
            return
        self._check_timeouts()

    def _evict_idle(self) -> bool:
        """End the connection that is idle longest. Return False if none has been idle long enough."""
        since, oldest = min(
            ((other.idle_since(), other) for other in self.connections if isinstance(other, LimitedHttpProtocol)),
            key=itemgetter(0),
        )
        if since > self.loop.time() - _MIN_IDLE:
            return False
        logger.debug("Idle connection closed to admit a new one")
        oldest.abort()
        return True

    def idle_since(self) -> float:
        """Return the loop time since when this connection waits for its client; infinite while it is answered."""
        if self._writing_since is not None:
            return self._writing_since
        if self._reading_since is not None:
            return self._reading_since
        return inf if self._is_answering or self._idle_since is None else self._idle_since

    def on_response_complete(self) -> None:
        self._idle_since = self.loop.time()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._pipelined.clear()
        self._limits.unsent.remove(self.abort)
        if self.cycle is not None and not self.cycle.response_complete:
            logger.debug("Client disconnected before its answer was sent")
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._writing_since = self.loop.time()
        self._limits.unsent.add(self.abort, self._raw_transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        super().resume_writing()
        self._writing_since = self.loop.time() if self.transport.is_closing() else None
        self._limits.unsent.remove(self.abort)
        if self._pipelined:
            self.loop.call_soon(self._resume_parsing)

    def shutdown(self) -> None:
        self._stopping = True
        if self.transport.is_closing():
            self.loop.call_later(_LINGER, self.abort)
        elif self.cycle is None or self.cycle.response_complete:
            self.loop.call_later(_STOP_DELAY, super().shutdown)
        else:
            super().shutdown()

    def _close(self) -> None:
        """Close the connection once its client has taken the answer and stopped sending."""
        self._discards_input = True
        now = self.loop.time()
        if self._raw_transport.is_closing():
            return
        if self._reading_since is None and not self._pipelined and not self.flow.read_paused:
            self._writing_since = now
            self._raw_transport.close()
            self._check_timeouts()
            return
        self._pipelined.clear()
        if self._raw_transport.can_write_eof():
            self._raw_transport.write_eof()
        self.flow.resume_reading()
        since = now if self._reading_since is None else self._reading_since
        patience = _LINGER
        if self._timer is not None:
            self._timer.cancel()
            patience = max(patience, since + self._limits.read_timeout - now)
        self._timer = self.loop.call_later(patience, self.abort)

    def _check_timeouts(self) -> None:
        """Check the time limits of the client. One timer per connection, instead of one per request, is cheap."""
        if self._timer is not None:
            self._timer.cancel()
        now = self.loop.time()
        wait = min(self._limits.read_timeout, self._limits.write_timeout)
        if self._writing_since is not None:
            left = self._limits.write_timeout - (now - self._writing_since)
            if left <= 0:
                logger.debug("Connection aborted: client did not read its answer in time")
                self.abort()
                return
            wait = min(wait, left)
        if self._reading_since is not None and not self.transport.is_closing():
            left = self._limits.read_timeout - (now - self._reading_since)
            if left <= 0:
                self._time_out()
                return
            wait = min(wait, left)
        self._timer = self.loop.call_later(max(wait, 0.1), self._check_timeouts)

    def _time_out(self) -> None:
        if self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete:
            self.abort()
        else:
            self._refuse(408, "The request did not arrive in time")

    def abort(self) -> None:
        """Abort the connection and drop unsent bytes."""
        self._raw_transport.abort()
