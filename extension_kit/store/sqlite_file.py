"""SQLite file check: detects a file that was removed, replaced or cut off; SQLite itself would go on with it."""

import math
import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

Identity = tuple[int, int]

_CHECKED = 64 * 1024**2  # bytes up to which a shrunken file is checked whole
_FRAME_HEADER = 24  # bytes before each page in the write-ahead log

_CHECK = 1.0  # seconds between two checks while the folder does not change
_TICK = 1_000_000_000  # nanoseconds, more than one of any file system's clock

_ADVICE = (
    "put the same file back; or stop the extension, put a backup in its place, remove the files with its name and "
    "-wal or -shm at the end, and start it"
)

_CUT = (
    "was cut off while it was in use: stop the extension, restore a backup, remove the files with its name and "
    "-wal or -shm at the end, and start it"
)


class FileLost(sqlite3.OperationalError):
    """The file at the path is not the open one."""


class FileReplaced(FileLost):
    """Another file is at the path, and may be opened."""


class Files(NamedTuple):
    """The database file, its write-ahead log and its shared memory; None for a missing one."""

    main: Identity | None
    log: Identity | None
    shared: Identity | None


class FileConnection(sqlite3.Connection):
    """A connection with the identities of its open files."""

    files = Files(None, None, None)


def files_at(path: Path) -> Files:
    """Return the files at a path."""
    return Files(*(_identity(f"{path}{ending}") for ending in ("", "-wal", "-shm")))


def opened_files(path: Path, before: Files) -> Files:
    """Return the files that a connection has just opened, its log among them.

    Args:
        path: of the file.
        before: files at the path before it was opened.

    Raises:
        FileLost: another file was put there meanwhile.
    """
    files = files_at(path)
    if files.main != before.main or None in files:
        raise FileLost("was replaced while it was opened: try again")
    return files


class FileWatch:
    """Compares the open files with those at the path, at the cost of two ``stat`` calls, or of one for a glance.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._main, self._log = str(path), f"{path}-wal"
        self._folder = str(path.parent)
        self._size = 0
        self._cut: Identity | None = None
        self._glanced: tuple[object, ...] = ()
        self._checks_at = -math.inf

    def check(self, connection: FileConnection) -> None:
        """Check that a connection's files are those at the path, and whole; in a transaction that writes.

        Raises:
            FileLost: the files are others, or were cut off.
            FileReplaced: the files are others, and a new connection may open them.
        """
        main, _ = self.check_names(connection)
        if main.st_size < self._size:
            self._check_size(connection)
        self._size = main.st_size

    def glance(self, connection: FileConnection) -> None:
        """Check as ``check`` does, but only once a second as long as no file in the folder was added or removed.

        Raises:
            FileLost, FileReplaced: as for ``check``.
        """
        now = time.monotonic()
        try:
            folder = os.stat(self._folder)
        except FileNotFoundError:
            seen: tuple[object, ...] = ()
        else:
            seen = (connection, folder.st_dev, folder.st_ino, folder.st_mtime_ns)
            if seen == self._glanced and now < self._checks_at:
                return
            if time.time_ns() - folder.st_mtime_ns < _TICK:  # another change may have the same time
                seen = ()
        self.check(connection)
        self._glanced, self._checks_at = seen, now + _CHECK

    def explain(self, connection: FileConnection, error: sqlite3.DatabaseError) -> None:
        """Raise ``FileLost`` if a transaction could not begin because the file was cut off or replaced.

        A connection that still had the pages in memory would have begun it.
        """
        if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            main, _ = self.check_names(connection)
            if main.st_size < self._size:
                self._cut = connection.files.main
                raise FileLost(_CUT)

    def check_names(self, connection: FileConnection) -> tuple[os.stat_result, os.stat_result]:
        """Check that a connection's files are those at the path, without using the connection.

        Returns:
            The ``stat`` results of the file and its log.

        Raises:
            FileLost, FileReplaced: as for ``check``.
        """
        files = connection.files
        try:
            main, log = os.stat(self._main), os.stat(self._log)
        except FileNotFoundError:
            raise self._lost(files) from None
        if files.main != (main.st_dev, main.st_ino) or files.log != (log.st_dev, log.st_ino):
            raise self._lost(files)
        if files.main == self._cut:
            raise FileLost(_CUT)
        return main, log

    def _lost(self, files: Files) -> FileLost:
        there = files_at(self._path)
        if there.main is None:
            return FileLost(f"was removed while it was in use: {_ADVICE}")
        if there.main == files.main:
            return FileLost(
                f"lost its write-ahead log, {self._path.name}-wal, while it was in use: stop the extension, which "
                "writes the log's contents into the file, and start it again"
            )
        if {files.log, files.shared} & {there.log, there.shared} - {None}:
            return FileLost(f"was replaced while it was in use, beside the -wal and -shm of the one before: {_ADVICE}")
        return FileReplaced("was replaced while it was in use: the file that is there now is opened")

    def _check_size(self, connection: FileConnection) -> None:
        """Check a smaller file: it shrinks when free pages are given back; otherwise it was cut off."""
        (pages,), (page_size,) = (
            connection.execute(f"PRAGMA {name}").fetchone() for name in ("page_count", "page_size")
        )
        # In this order: pages that leave the log meanwhile go to the file.
        in_log = os.stat(self._log).st_size // (page_size + _FRAME_HEADER)
        size = os.stat(self._main).st_size
        if size < max(pages - in_log, 1) * page_size or (size <= _CHECKED and _is_damaged(self._path)):
            self._cut = connection.files.main
            raise FileLost(_CUT)


def _is_damaged(path: Path) -> bool:
    """Return True if a new connection, without cached pages, finds the file damaged."""
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
            return bool(connection.execute("PRAGMA quick_check(1)").fetchone() != ("ok",))
    except sqlite3.DatabaseError as error:
        return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _identity(path: str) -> Identity | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
