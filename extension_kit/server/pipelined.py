"""Pipelined requests: unparsed bytes that a client sent before the answer to its last request."""

from extension_kit.server.in_flight import Hold, InFlight

_EMPTY_LINE = b"\r\n\r\n"
_SHORT = 4096  # bytes; parsing so few of them separately costs more than searching them


class PipelinedBytes:
    """Unparsed bytes of one connection.

    Args:
        in_flight: the room they are counted in.
    """

    __slots__ = ("_data", "_hold", "_in_flight", "_start")

    def __init__(self, in_flight: InFlight) -> None:
        self._in_flight = in_flight
        self._data = b""
        self._start = 0
        self._hold: Hold | None = None

    def __bool__(self) -> bool:
        return bool(self._data)

    def append(self, data: bytes, start: int) -> bool:
        """Add ``data[start:]``. If there is no room, drop all bytes and return False."""
        if self._data:
            data, start = self._data[self._start :] + data[start:], 0
        self.clear()
        self._hold = self._in_flight.hold(len(data), lambda: None)
        self._hold.complete()
        if self._hold.refused:
            return False
        self._data, self._start = data, start
        return True

    def take(self) -> tuple[bytes, int]:
        """Remove and return the bytes, and the index of the first unparsed one."""
        taken = self._data, self._start
        self.clear()
        return taken

    def clear(self) -> None:
        """Drop the bytes and free their room."""
        self._data, self._start = b"", 0
        if self._hold is not None:
            self._hold.release()
            self._hold = None


def end_of_part(data: bytes, start: int) -> int:
    """Return the end of the bytes to parse in one go: at most one request ends before it.

    A head, and a chunked body, ends with an empty line. If there is only one, as in an event received in one piece, all
    bytes are parsed at once.
    """
    end = data.find(_EMPTY_LINE, start) + len(_EMPTY_LINE)
    if end < len(_EMPTY_LINE) or (len(data) - end < _SHORT and data.find(_EMPTY_LINE, end) < 0):
        return len(data)
    return end
