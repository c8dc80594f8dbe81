"""Journal of all that several processes do to the files of SQLite databases: one file, appended to by all of them."""

import os
import struct
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

_HEAD = struct.Struct("<BqII")


class Kind(IntEnum):
    """Kinds of records."""

    OPEN = 1
    WRITE = 2
    TRUNCATE = 3
    SYNC = 4
    SYNC_WITH_FOLDER = 5
    DELETE = 6


class Record(NamedTuple):
    """An action on a file, written down when it had ended.

    ``number`` is the offset of a write in bytes, the size that a file is cut to, or the end of the journal when a
    flush began: the flush is sure to have reached only actions written down before.
    """

    end: int
    """Bytes of the journal up to and with this record."""
    kind: Kind
    path: str
    number: int
    data: bytes


class Journal:
    """The journal, to append to it.

    Args:
        path: of the file, which is created if it is missing.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def size(self) -> int:
        """Return the bytes that were written so far."""
        return os.fstat(self._file).st_size

    def append(self, kind: Kind, path: bytes, number: int = 0, data: bytes = b"") -> None:
        """Append a record by one call of the kernel, so that records of several processes do not mix."""
        record = _HEAD.pack(kind, number, len(path), len(data)) + path + data
        if os.write(self._file, record) != len(record):
            os.abort()  # without its record, an action must have no consequences


def records(path: Path, until: int) -> Iterator[Record]:
    """Read the records that are whole within the first ``until`` bytes of a journal."""
    with path.open("rb") as file:
        end = 0
        while len(head := file.read(_HEAD.size)) == _HEAD.size:
            kind, number, path_length, data_length = _HEAD.unpack(head)
            end += len(head) + path_length + data_length
            if end > until:
                return
            yield Record(end, Kind(kind), os.fsdecode(file.read(path_length)), number, file.read(data_length))
