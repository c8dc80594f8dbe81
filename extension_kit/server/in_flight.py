"""The bytes that a process holds for its clients: each request is bounded by itself, and here all of them together."""

import logging
import threading
import time
from collections.abc import Callable

logger = logging.getLogger("extension_kit.web")

SMALL = 16 * 1024
"""Bytes up to which a body is not counted: so large ones never keep ordinary events out, and the limits of connections
and queues let in only some megabytes of these."""

_PACE = 256 * 1024  # bytes a second, at which a body has to come in when others want its room
_HEAD_START = 1.0  # seconds in which a body may be slower than that
_COMPLAINT_INTERVAL = 10.0  # seconds between two log lines about the same


class InFlight:
    """The room for bodies, from the first byte of one to the end of what is done with it.

    To be used in the thread of the event loop, but for ``Hold.release``.

    Args:
        limit: bytes. A body that is larger has room when there is no other.
        decoded: the room for what is made of bodies; None: it is not looked at.
    """

    def __init__(self, limit: int, decoded: "InFlight | None" = None) -> None:
        self._limit = limit
        self.decoded = decoded
        self._bytes = 0
        self._lock = threading.Lock()
        self._coming: dict[Hold, None] = {}  # oldest first
        self._complained = -_COMPLAINT_INTERVAL

    def hold(self, size: int, drop: Callable[[], None]) -> "Hold":
        """Hold room for a body.

        Args:
            size: its bytes; 0 where that is not known before.
            drop: called when it has to go, for others or because it has grown too large: it is ``refused`` by then.

        Returns:
            The room; it is ``refused`` where there is none.
        """
        hold = Hold(self, size, drop)
        if self.find_room(size, hold):
            self._coming[hold] = None
        else:
            hold.refused = True
        return hold

    def find_room(self, size: int, hold: "Hold") -> bool:
        """Add to the bytes of a hold, at the cost of bodies that are sent too slowly."""
        if size <= 0 or self._add(size, hold):
            return True
        now = time.monotonic()
        for other in [other for other in self._coming if other is not hold and other.lags(now)]:
            other.refuse()
            if self._add(size, hold):
                return True
        if now - self._complained >= _COMPLAINT_INTERVAL:
            self._complained = now
            logger.warning(
                "Requests are answered 503: up to %d MB of bodies are received and worked on at a time "
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

    def has_come(self, hold: "Hold") -> None:
        """Leave a body alone: it does not wait for its client."""
        self._coming.pop(hold, None)

    def free(self, hold: "Hold") -> None:
        """Take back all that is counted for a body."""
        with self._lock:
            self._bytes -= hold.counted
            hold.counted = 0


class Hold:
    """The room that one body has.

    Attributes:
        refused: whether it has none, or none any more.
        counted: bytes that are counted for it.
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
        """Note that bytes have come; False where they are to be dropped."""
        if self.refused or self._released:
            return False
        self._received += size
        if self._received > max(self.counted, SMALL) and not self._in_flight.find_room(
            self._received - self.counted, self
        ):
            self.refuse()
        return not self.refused

    def complete(self) -> None:
        """Note that all of the body is there."""
        self._in_flight.has_come(self)

    def decode(self, size: int) -> bool:
        """Hold room for what is made of the body, in bytes; False where there is none."""
        if self._in_flight.decoded is not None:
            self._decoded = self._in_flight.decoded.hold(size, lambda: None)
            self._decoded.complete()
            return not self._decoded.refused
        return True

    def lags(self, now: float) -> bool:
        """Whether its client is slow enough to lose its room to others."""
        return self._received < _PACE * (now - self._since - _HEAD_START)

    def refuse(self) -> None:
        """Take its room away."""
        self.refused = True
        self.complete()
        self._in_flight.free(self)
        self._drop()

    def release(self) -> None:
        """Give the room back when nobody uses the body any more; from any thread, where all of it had come."""
        self._released = True
        self.complete()
        self._in_flight.free(self)
        if self._decoded is not None:
            self._decoded.release()


class Unsent:
    """The answers that clients have not taken yet: the oldest ones go when they are too much.

    Args:
        limit: bytes. One answer is allowed, whatever its size.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._bytes = 0
        self._sizes: dict[Callable[[], None], int] = {}

    def add(self, cut_off: Callable[[], None], size: int) -> None:
        """Note that a client has so many bytes to take; where that is too much, the oldest are cut off."""
        self.remove(cut_off)
        self._sizes[cut_off] = size
        self._bytes += size
        while self._bytes > self._limit and len(self._sizes) > 1:
            oldest = next(iter(self._sizes))
            self.remove(oldest)
            oldest()

    def remove(self, cut_off: Callable[[], None]) -> None:
        """Note that a client has taken its answer, or has left."""
        self._bytes -= self._sizes.pop(cut_off, 0)


class Limits:
    """What the clients of one process may take.

    Args:
        read_timeout: seconds for sending a request.
        write_timeout: seconds for taking an answer.
        connections: open at the same time.
        body: bytes of a request.
        in_flight: bytes of all bodies that are not small, and of all answers not taken.
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
