"""What a client has sent ahead of the answer to its last request, kept as the bytes that came."""

from extension_kit.server.in_flight import Hold, InFlight

_EMPTY_LINE = b"\r\n\r\n"
_SHORT = 4096  # bytes that are looked through at less cost than parsing them by themselves has


class Ahead:
    """The bytes of one connection that have not been parsed.

    Args:
        in_flight: the room they need.
    """

    __slots__ = ("_data", "_hold", "_in_flight", "_start")

    def __init__(self, in_flight: InFlight) -> None:
        self._in_flight = in_flight
        self._data = b""
        self._start = 0
        self._hold: Hold | None = None

    def __bool__(self) -> bool:
        return bool(self._data)

    def keep(self, data: bytes, start: int) -> bool:
        """Add bytes, from a place in them on; False where there is no room, and all are forgotten."""
        if self._data:
            data, start = self._data[self._start :] + data[start:], 0
        self.forget()
        self._hold = self._in_flight.hold(len(data), lambda: None)
        self._hold.complete()
        if self._hold.refused:
            return False
        self._data, self._start = data, start
        return True

    def take(self) -> tuple[bytes, int]:
        """Give the bytes, and the place from which on they have not been parsed."""
        taken = self._data, self._start
        self.forget()
        return taken

    def forget(self) -> None:
        """Have no bytes any more."""
        self._data, self._start = b"", 0
        if self._hold is not None:
            self._hold.release()
            self._hold = None


def end_of_part(data: bytes, start: int) -> int:
    """Where what can be parsed in one go ends: no two requests end before it.

    A head, and a body in chunks, ends with an empty line. Where there is only one, as in an event that comes in one
    piece, all of it is parsed at once.
    """
    end = data.find(_EMPTY_LINE, start) + len(_EMPTY_LINE)
    if end < len(_EMPTY_LINE) or (len(data) - end < _SHORT and data.find(_EMPTY_LINE, end) < 0):
        return len(data)
    return end
