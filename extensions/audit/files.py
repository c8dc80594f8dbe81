"""Files: a folder with a file of JSON lines for each day of events, each line the record of an event."""

import fcntl
import os
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC
from pathlib import Path
from typing import BinaryIO, NamedTuple

import orjson

from extension_kit import Event, RetryLater

from .records import record_of

_LOCK_SECONDS = 10.0
_RECENT = 1024**2  # bytes at the end of a file
_LOCK_PAUSE = 0.02
_BLOCK = 1024 * 1024
_RETRY_IN, _OTHERS_WRITE = 5, "others write to the audit file"


class _Line(NamedTuple):
    """A line for a file, which has it already if ``may_be_there`` and an earlier attempt came so far."""

    path: Path
    content: bytes
    may_be_there: bool


class _Batch:
    """Lines of events that came while others were written: they are flushed together."""

    def __init__(self) -> None:
        self.lines: list[_Line] = []
        self.is_over = False
        self.error: Exception | None = None

    def write(self) -> None:
        """Append the lines to their files, and flush them."""
        by_path: defaultdict[Path, list[_Line]] = defaultdict(list)
        for line in self.lines:
            by_path[line.path].append(line)
        try:
            for path, lines in by_path.items():
                _append(path, lines)
        except Exception as error:
            self.error = error
        self.is_over = True


class FileTarget:
    """A folder of files such as ``2026-11-30.jsonl``, by the day of an event in UTC; ``undated.jsonl`` without one.

    Processes take turns by a lock of the file, so the folder has to be on a file system with locks. Of the threads of a
    process, one writes the lines of all that wait for it.

    Args:
        folder: path; made if it is missing.
    """

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)
        self._adding, self._writing = threading.Lock(), threading.Lock()
        self._next = _Batch()

    def keep(self, event: Event) -> None:
        """Append an event, unless an earlier attempt did, and flush it to the disk.

        Raises:
            RetryLater: others hold the lock of the file for long.
            OSError: the file cannot be written.
        """
        path = self._folder / f"{event.time.astimezone(UTC).date() if event.time else 'undated'}.jsonl"
        with self._adding:
            batch = self._next
            batch.lines.append(_Line(path, orjson.dumps(record_of(event)) + b"\n", event.attempt > 1))
        if not self._writing.acquire(timeout=_LOCK_SECONDS):
            raise RetryLater(_RETRY_IN, _OTHERS_WRITE)
        try:
            if not batch.is_over:
                with self._adding:
                    self._next = _Batch()
                batch.write()
        finally:
            self._writing.release()
        if batch.error is not None:
            raise batch.error

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


def _append(path: Path, lines: Iterable[_Line]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    missing = dict.fromkeys(line.content for line in lines)
    may_be_there = any(line.may_be_there for line in lines)
    # An earlier attempt may have been killed before it flushed the file, or its name in the folder.
    is_new = may_be_there or not path.exists()
    with path.open("ab+") as file, _locked(file):
        _cut_torn_line(file)
        # A killed worker may have been further in a series than it wrote: such a line is one of the last.
        file.seek(0 if may_be_there else max(file.seek(0, os.SEEK_END) - _RECENT, 0))
        for each in file:
            missing.pop(each, None)
        # Without a buffer: closing the file would write the rest of it when the lock is gone.
        left = b"".join(missing)
        while left:
            left = left[os.write(file.fileno(), left) :]
        os.fsync(file.fileno())
    if is_new:
        _flush_folder(path.parent)


@contextmanager
def _locked(file: BinaryIO) -> Iterator[None]:
    ends_at = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() >= ends_at:
                raise RetryLater(_RETRY_IN, _OTHERS_WRITE) from None
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


def _flush_folder(folder: Path) -> None:
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
