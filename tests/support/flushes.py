"""Flushes of folders by this process."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch


@contextmanager
def folders_flushed() -> Iterator[list[tuple[Path, set[str]]]]:
    """The folders that are flushed, in order, each with the names that were in it then."""
    flushed = []
    flush = os.fsync

    def record(number: int) -> None:
        flush(number)
        if stat.S_ISDIR(os.fstat(number).st_mode):
            folder = Path(os.readlink(f"/proc/self/fd/{number}"))
            flushed.append((folder, set(os.listdir(folder))))

    with patch.object(os, "fsync", record):
        yield flushed
