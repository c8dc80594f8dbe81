"""Files: a folder with a file of JSON lines for each day of events, each line the record of an event."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC
from pathlib import Path
from typing import BinaryIO

import orjson

from extension_kit import Event, RetryLater

from .records import record_of

_LOCK_SECONDS = 10.0
_LOCK_PAUSE = 0.02
_BLOCK = 1024 * 1024


class FileTarget:
    """A folder of files such as ``2026-11-30.jsonl``, by the day of an event in UTC; ``undated.jsonl`` without one.

    Threads and processes take turns by a lock of the file, so the folder has to be on a file system with locks.

    Args:
        folder: path; made if it is missing.
    """

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)

    def keep(self, event: Event) -> None:
        """Append an event, unless an earlier attempt did, and flush it to the disk.

        Raises:
            RetryLater: others hold the lock of the file for long.
            OSError: the file cannot be written.
        """
        line = orjson.dumps(record_of(event)) + b"\n"
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{event.time.astimezone(UTC).date() if event.time else 'undated'}.jsonl"
        is_new = not path.exists()
        with path.open("ab+") as file, _locked(file):
            _cut_torn_line(file)
            if event.attempt > 1 and _has_line(file, line):
                return
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        if is_new:
            _flush_folder(self._folder)

    def problem(self) -> str | None:
        """Return the reason for which the folder cannot be written to; None if it can."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            return f"the folder of EXTENSION_AUDIT_TARGET cannot be made: {error.strerror}"
        if not os.access(self._folder, os.W_OK | os.X_OK):
            return "the folder of EXTENSION_AUDIT_TARGET cannot be written to"
        return None

    def close(self) -> None:
        """Do nothing: no file is open between two events."""


@contextmanager
def _locked(file: BinaryIO) -> Iterator[None]:
    ends_at = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() >= ends_at:
                raise RetryLater(5, "others write to the audit file") from None
            time.sleep(_LOCK_PAUSE)
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)


def _cut_torn_line(file: BinaryIO) -> None:
    """Remove a last line without an end: its writer died, and the event is kept by another attempt."""
    keep = end = file.seek(0, os.SEEK_END)
    block = 1  # first: nearly always it is the end of a line
    while keep:
        start = max(keep - block, 0)
        file.seek(start)
        found = file.read(keep - start).rfind(b"\n")
        keep = start + found + 1
        if found >= 0:
            break
        block = _BLOCK
    if keep < end:
        file.truncate(keep)


def _has_line(file: BinaryIO, line: bytes) -> bool:
    file.seek(0)
    return any(each == line for each in file)


def _flush_folder(folder: Path) -> None:
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
