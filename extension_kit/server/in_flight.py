"""Memory limits of a process: request bodies in flight and unsent answers, summed over all clients."""

import logging
import threading
import time
from collections.abc import Callable

logger = logging.getLogger("extension_kit.web")

SMALL = 16 * 1024
"""Size in bytes up to which a body is not counted. So large bodies never keep ordinary events out; the limits of
connections and queues bound small bodies to some megabytes."""

_MIN_RATE = 256 * 1024  # minimum bytes per second of a body when others need its room
_GRACE = 1.0  # seconds in which a body may be slower
_LOG_INTERVAL = 10.0  # seconds between two log lines


class InFlight:
    """Room for request bodies, from the first byte received until the request has been processed.

    Call it only from the event loop's thread, except for ``Hold.release``.

    Args:
        limit: bytes. A larger body has room when there is no other.
        decoded: room for decoded bodies; None: not limited.
    """

    def __init__(self, limit: int, decoded: "InFlight | None" = None) -> None:
        self._limit = limit
        self.decoded = decoded
        self._bytes = 0
        self._lock = threading.Lock()
        self._incoming: dict[Hold, None] = {}  # oldest first
        self._logged_at = -_LOG_INTERVAL

    def hold(self, size: int, drop: Callable[[], None]) -> "Hold":
        """Hold room for a body.

        Args:
            size: its bytes; 0 if unknown.
            drop: called when the body loses its room, to others or because it has grown too large; ``refused`` is set
                by then.

        Returns:
            The room; ``refused`` is set if there is none.
        """
        hold = Hold(self, size, drop)
        if self.find_room(size, hold):
            self._incoming[hold] = None
        else:
            hold.refused = True
        return hold

    def find_room(self, size: int, hold: "Hold") -> bool:
        """Add bytes to a hold, dropping slowly sent bodies if need be. Return False if there is no room."""
        if size <= 0 or self._add(size, hold):
            return True
        now = time.monotonic()
        for other in [other for other in self._incoming if other is not hold and other.is_slow(now)]:
            other.refuse()
            if self._add(size, hold):
                return True
        if now - self._logged_at >= _LOG_INTERVAL:
            self._logged_at = now
            logger.warning(
                "Requests answered 503: request bodies in flight reached the limit of %d MB "
                "(EXTENSION_MAX_INFLIGHT_MEGABYTES)",
                self._limit // 1024**2,
            )
        return False

    def _add(self, size: int, hold: "Hold") -> bool:
        with self._lock:
            if self._bytes + size > self._limit and self._bytes > hold.counted:
                return False
            self._bytes += size
            hold.counted += size
            return True

    def mark_received(self, hold: "Hold") -> None:
        """Mark a body as received: it can no longer lose its room to others."""
        self._incoming.pop(hold, None)

    def free(self, hold: "Hold") -> None:
        """Free the bytes counted for a body."""
        with self._lock:
            self._bytes -= hold.counted
            hold.counted = 0


class Hold:
    """Room of one request body.

    Attributes:
        refused: True if it has no room, or has lost it.
        counted: bytes counted for it.
    """

    __slots__ = ("_decoded", "_drop", "_in_flight", "_received", "_released", "_since", "counted", "refused")

    def __init__(self, in_flight: InFlight, size: int, drop: Callable[[], None]) -> None:
        self._in_flight = in_flight
        self._decoded: Hold | None = None
        self._drop = drop
        self._since = time.monotonic()
        self._received = 0
        self._released = False
        self.counted = 0
        self.refused = False

    def take(self, size: int) -> bool:
        """Count received bytes. Return False if they are to be dropped."""
        if self.refused or self._released:
            return False
        self._received += size
        if self._received > max(self.counted, SMALL) and not self._in_flight.find_room(
            self._received - self.counted, self
        ):
            self.refuse()
        return not self.refused

    def complete(self) -> None:
        """Mark the whole body as received."""
        self._in_flight.mark_received(self)

    def decode(self, size: int) -> bool:
        """Hold room for the decoded body, in bytes. Return False if there is none."""
        if self._in_flight.decoded is not None:
            self._decoded = self._in_flight.decoded.hold(size, lambda: None)
            self._decoded.complete()
            return not self._decoded.refused
        return True

    def is_slow(self, now: float) -> bool:
        """Return True if the client sends slowly enough to lose its room to others."""
        return self._received < _MIN_RATE * (now - self._since - _GRACE)

    def refuse(self) -> None:
        """Refuse the body and free its room."""
        self.refused = True
        self.complete()
        self._in_flight.free(self)
        self._drop()

    def release(self) -> None:
        """Free the room when the body is no longer used. Any thread may call it once the whole body was received."""
        self._released = True
        self.complete()
        self._in_flight.free(self)
        if self._decoded is not None:
            self._decoded.release()


class Unsent:
    """Answers that clients have not read yet. Above the limit, the oldest connections are aborted.

    Args:
        limit: bytes. One answer of any size is allowed.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._bytes = 0
        self._sizes: dict[Callable[[], None], int] = {}

    def add(self, abort: Callable[[], None], size: int) -> None:
        """Record the unsent bytes of a client; above the limit, abort the oldest connections."""
        self.remove(abort)
        self._sizes[abort] = size
        self._bytes += size
        while self._bytes > self._limit and len(self._sizes) > 1:
            oldest = next(iter(self._sizes))
            self.remove(oldest)
            oldest()

    def remove(self, abort: Callable[[], None]) -> None:
        """Forget a client that has read its answer or has disconnected."""
        self._bytes -= self._sizes.pop(abort, 0)


class Limits:
    """Limits of one process for its clients.

    Args:
        read_timeout: seconds for sending a request.
        write_timeout: seconds for taking an answer.
        connections: open at the same time.
        body: bytes of a request.
        in_flight: bytes of all bodies above ``SMALL``, and of all unsent answers.
    """

    def __init__(
        self, *, read_timeout: float, write_timeout: float, connections: int, body: int, in_flight: int
    ) -> None:
        self.read_timeout = read_timeout
        self.write_timeout = write_timeout
        self.connections = connections
        self.body = body
        self.in_flight = InFlight(in_flight, decoded=InFlight(in_flight))
        self.unsent = Unsent(in_flight)
