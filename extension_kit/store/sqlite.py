"""SQLite connections: writers take turns, and a commit has reached the disk."""

import math
import os
import sqlite3
import threading
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from random import SystemRandom
from typing import Any
from weakref import WeakValueDictionary

from extension_kit.store.folder_flush import flush_folder
from extension_kit.store.sqlite_file import FileConnection, files_at, opened_files

WAIT = 5.0
"""Maximum seconds to wait for another writer."""

_STATEMENTS = 512  # kept prepared; inserts differ by their number of rows

_write_locks: WeakValueDictionary[tuple[int, Path], threading.Lock] = WeakValueDictionary()
_write_locks_lock = threading.Lock()

_PRAGMAS = (
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=ON",
    f"PRAGMA journal_size_limit={64 * 1024**2}",
    # Some builds overwrite deleted data with zeros: that takes as much space in the log, and a full disk has none.
    "PRAGMA secure_delete=OFF",
)


def create(path: Path) -> None:
    """Create the file and its directory, accessible to their owner only; existing ones keep their mode.

    A power failure after it loses neither.

    Raises:
        OSError: they cannot be created.
    """
    missing = [folder for folder in path.parents if not folder.exists()]
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Not opened where it exists: closing it would release the locks of every connection that this process has to it.
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o600))
        for made in (path, *missing):
            flush_folder(made.parent)


def write_lock(path: Path) -> threading.Lock:
    """Return the lock between the threads of this process that write to a file.

    Without it they would poll the file's own lock. A forked process has a lock of its own.
    """
    with _write_locks_lock:
        if (lock := _write_locks.get((os.getpid(), path))) is None:
            lock = _write_locks[os.getpid(), path] = threading.Lock()
        return lock


def connect(path: Path, *, flush: bool = True) -> FileConnection:
    """Open an existing file. Any thread may use the connection; transactions begin explicitly only.

    Args:
        path: the file.
        flush: True: a commit waits for the disk.

    Raises:
        sqlite3.Error: the file is missing, or no database, or cannot be written.
    """
    before = files_at(path)
    connection = sqlite3.connect(
        f"{path.as_uri()}?mode=rw",
        uri=True,
        timeout=WAIT,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=_STATEMENTS,
        factory=FileConnection,
    )
    try:
        for pragma in _PRAGMAS:
            connection.execute(pragma)
        if connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
            # Once for a file, because they write; the first works only before the second, and before there are tables.
            _execute_in_turn(connection, "PRAGMA auto_vacuum=INCREMENTAL")
            _execute_in_turn(connection, "PRAGMA journal_mode=WAL")
            connection.execute("SELECT 1 FROM sqlite_master").fetchone()  # opens the log
        if not flush:
            connection.execute("PRAGMA synchronous=NORMAL")
        # From here on only ``begin`` waits.
        connection.execute("PRAGMA busy_timeout=0")
        connection.files = opened_files(path, before)
    except BaseException:
        connection.close()
        raise
    return connection


def begin(connection: sqlite3.Connection, wait: float = math.inf) -> None:
    """Begin a transaction that writes, as soon as no other one is open.

    Args:
        connection: to the file.
        wait: maximum seconds to wait for others; never more than ``WAIT``.

    Raises:
        sqlite3.OperationalError: another connection has been writing for so long.
    """
    _execute_in_turn(connection, "BEGIN IMMEDIATE", wait)


def execute_alone(
    connection: sqlite3.Connection, statement: str, values: Sequence[Any], wait: float = math.inf
) -> None:
    """Execute one statement in a transaction of its own, as soon as no other one is open; as ``begin`` waits.

    It releases Python's lock once; after each release a busy thread lets others wait.
    """
    _execute_in_turn(connection, statement, wait, values)


def vacuum(path: Path, pages: int) -> None:
    """Give at most ``pages`` free pages at the end of the file back to the file system."""
    with closing(connect(path)) as connection:
        connection.execute(f"PRAGMA busy_timeout={WAIT * 1000:.0f}")
        # By executescript(), because execute() takes one step, and this pragma frees one page a step.
        connection.executescript(f"BEGIN IMMEDIATE; PRAGMA incremental_vacuum({pages}); COMMIT")


def shrink_log(path: Path) -> None:
    """Move the write-ahead log's contents into the file, and empty the log, unless others are using it."""
    with closing(connect(path)) as connection:
        connection.execute(f"PRAGMA busy_timeout={WAIT * 1000:.0f}")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()


def _execute_in_turn(
    connection: sqlite3.Connection, statement: str, wait: float = math.inf, values: Sequence[Any] = ()
) -> None:
    """Execute a statement that needs the file's write lock, trying often.

    SQLite's own waiting pauses longer and longer, up to 0.1 s: beside a process that writes all the time it finds the
    file unlocked only by luck, and may time out.
    """
    deadline = time.monotonic() + min(wait, WAIT)
    while True:
        try:
            connection.execute(statement, values)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(SystemRandom().uniform(0.0002, 0.001))
        else:
            return
