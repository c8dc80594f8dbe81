"""Shared state of the arbiter and the web processes, in memory that is inherited across the fork.

The arbiter must not open the database: it forks, and neither SQLite's locks nor a client's connection survive a fork.
So the web processes write the delivery backlog here every few seconds, and the health port reads it.
"""

import json
import mmap
import os
import struct
import threading
import time
from zlib import crc32

from extension_kit.observability.metrics_page import Backlog, Due, ReadBacklog, Room

START_AGAIN = os.EX_TEMPFAIL
"""Exit code of a web process that could not use the database or call its hooks, and is to be started again."""

_SLOTS = 1024  # more than there are web processes, even while a reload replaces them
_HAS_FAILED, _HAS_DURABLE, _HAS_SERVED = range(_SLOTS, _SLOTS + 3)
_LENGTH = struct.Struct("=LL")  # bytes of a text, their checksum
_BACKLOG_AT = _SLOTS + 8
_BACKLOG_SIZE = 256 * 1024  # more than 52 keys of 255 characters take
_REASONS_AT = _BACKLOG_AT + _LENGTH.size + _BACKLOG_SIZE
_REASONS_SIZE = 4096

_INTERVAL = 3.0  # seconds between two readings of the backlog
_MAX_LOAD = 0.1  # share of the time that reading it may take
_MAX_AGE = 30.0  # seconds after which a backlog counts as unknown


class SharedState:
    """State of the web processes, known to the arbiter and all of them. Create it before the first fork."""

    def __init__(self) -> None:
        self._bytes = mmap.mmap(-1, _REASONS_AT + _LENGTH.size + _REASONS_SIZE)
        self.draining = False

    def set_ready(self, slot: int, ready: bool) -> None:
        """Record if the web process in this slot, a number that no other has at the same time, takes requests."""
        self._bytes[slot % _SLOTS] = ready
        if ready:
            self._bytes[_HAS_SERVED] = True
            self._bytes[_HAS_FAILED] = False

    def is_ready(self) -> bool:
        """Return True if a web process takes requests and the server is not draining."""
        return not self.draining and any(self._bytes[:_SLOTS])

    @property
    def has_served(self) -> bool:
        """True if a web process has been ready since the server was started."""
        return self._bytes[_HAS_SERVED] == 1

    @property
    def has_durable_listeners(self) -> bool:
        """True if the handlers, loaded by the web processes only, have durable listeners."""
        return self._bytes[_HAS_DURABLE] == 1

    @has_durable_listeners.setter
    def has_durable_listeners(self, value: bool) -> None:
        self._bytes[_HAS_DURABLE] = value

    def is_first_failure(self) -> bool:
        """Return True once per outage, so that only the first failing web process logs."""
        first = self._bytes[_HAS_FAILED] == 0
        self._bytes[_HAS_FAILED] = True
        return first

    def backlog(self) -> Backlog | None:
        """Return the delivery backlog; None without durable listeners, or if nobody could read it for 30 s."""
        if not self.has_durable_listeners or (found := self._last_backlog()) is None:
            return None
        age, last = found
        if age >= _MAX_AGE:
            return None
        return last._replace(
            oldest=last.oldest + age if last.waiting else 0.0,
            oldest_unfiled=last.oldest_unfiled + age if last.unfiled else 0.0,
            due=tuple(each._replace(oldest=each.oldest + age if each.oldest else 0.0) for each in last.due),
        )

    def refresh_backlog(self, read_backlog: ReadBacklog, interval: float = 0.0) -> None:
        """Read the backlog and write it down, unless another process has done so less than ``interval`` seconds ago.

        A backlog that cannot be read leaves the last one, which grows old.
        """
        found = self._last_backlog()
        if found is not None and found[0] < interval:
            return
        if (backlog := read_backlog()) is not None:
            self._write(_BACKLOG_AT, json.dumps([time.monotonic(), backlog]).encode())

    def set_reasons(self, reasons: str) -> None:
        """Write down why functions of the worker are not ready, a line for each; only the arbiter does."""
        self._write(_REASONS_AT, reasons.encode()[:_REASONS_SIZE])

    def reasons(self) -> list[str]:
        """Return why functions of the worker are not ready, a line for each; none while these are being written."""
        return self._read(_REASONS_AT).decode(errors="replace").splitlines() if self.has_durable_listeners else []

    def keep_backlog_fresh(self, read_backlog: ReadBacklog) -> None:
        """Read the backlog now, and again every few seconds in a daemon thread, until this web process ends."""

        def work() -> None:
            pause = _INTERVAL
            while True:
                time.sleep(pause)
                began = time.monotonic()
                self.refresh_backlog(read_backlog, pause)
                pause = max(_INTERVAL, (time.monotonic() - began) / _MAX_LOAD)

        self.refresh_backlog(read_backlog)
        threading.Thread(target=work, name="backlog", daemon=True).start()

    def _last_backlog(self) -> tuple[float, Backlog] | None:
        """Return the last backlog and its age in seconds; None before the first, or while one is being written."""
        if not (text := self._read(_BACKLOG_AT)):
            return None
        read_at, (waiting, oldest, unfiled, oldest_unfiled, due, workers, circuits, room) = json.loads(text)
        found = Backlog(
            waiting,
            oldest,
            unfiled,
            oldest_unfiled,
            tuple(Due(*each) for each in due),
            workers,
            circuits,
            Room(*room) if room else None,
        )
        return time.monotonic() - read_at, found

    def _write(self, at: int, text: bytes) -> None:
        self._bytes[at : at + _LENGTH.size + len(text)] = _LENGTH.pack(len(text), crc32(text)) + text

    def _read(self, at: int) -> bytes:
        """Return the text that was written; empty before the first, or while one is being written."""
        begin = at + _LENGTH.size
        length, checksum = _LENGTH.unpack(self._bytes[at:begin])
        text = self._bytes[begin : begin + length]
        return text if crc32(text) == checksum else b""
