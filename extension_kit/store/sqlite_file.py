"""Whether the file that a connection has open is still the one at its path: SQLite goes on with one that is gone."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

Identity = tuple[int, int]

_CHECKED = 64 * 1024**2  # bytes up to which a file that became smaller is looked through
_FRAME_HEADER = 24  # bytes before each page in the write-ahead log

_ADVICE = (
    "put the same file back; or stop the extension, put a backup in its place, remove what its name with -wal and "
    "-shm at the end names, and start it"
)

_CUT = (
    "was cut off while it was in use: stop the extension, restore a backup, remove what its name with -wal and -shm "
    "at the end names, and start it"
)


class FileLost(sqlite3.OperationalError):
    """The file at the path is not the one that is open."""


class FileReplaced(FileLost):
    """Another file is at the path, and may be opened."""


class Files(NamedTuple):
    """The database file, its write-ahead log and what processes share of that; None where one is not there."""

    main: Identity | None
    log: Identity | None
    shared: Identity | None


class FileConnection(sqlite3.Connection):
    """A connection that knows which files it has opened."""

    files = Files(None, None, None)


def files_at(path: Path) -> Files:
    """Which files are at a path."""
    return Files(*(_identity(f"{path}{ending}") for ending in ("", "-wal", "-shm")))


def opened_files(path: Path, before: Files) -> Files:
    """Say which files a connection has just opened, its log among them.

    Args:
        path: of the file.
        before: what was there before it was opened.

    Raises:
        FileLost: another file was put there meanwhile.
    """
    files = files_at(path)
    if files.main != before.main or None in files:
        raise FileLost("was replaced while it was opened: try again")
    return files


class FileWatch:
    """Compares what is open with what is at the path, at the cost of asking for two names.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._main, self._log = str(path), f"{path}-wal"
        self._size = 0
        self._cut: Identity | None = None

    def check(self, connection: FileConnection) -> None:
        """See whether a connection's files are those at the path, and whole; in a transaction that writes.

        Raises:
            FileLost: they are not.
            FileReplaced: they are not, and those at the path may be opened by a new connection.
        """
        main, _ = self.check_names(connection)
        if main.st_size < self._size:
            self._check_size(connection)
        self._size = main.st_size

    def check_names(self, connection: FileConnection) -> tuple[os.stat_result, os.stat_result]:
        """See whether the names are still those of a connection's files, without using it.

        Returns:
            What is known of the file and its log.

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
                "writes what was in it into the file, and start it again"
            )
        if {files.log, files.shared} & {there.log, there.shared} - {None}:
            return FileLost(f"was replaced while it was in use, beside the -wal and -shm of the one before: {_ADVICE}")
        return FileReplaced("was replaced while it was in use: the file that is there now is opened")

    def _check_size(self, connection: FileConnection) -> None:
        """A file becomes smaller when free pages are given back; else it was cut off."""
        (pages,), (page_size,) = (
            connection.execute(f"PRAGMA {name}").fetchone() for name in ("page_count", "page_size")
        )
        # In this order: what leaves the log meanwhile goes to the file.
        in_log = os.stat(self._log).st_size // (page_size + _FRAME_HEADER)
        size = os.stat(self._main).st_size
        if size < max(pages - in_log, 1) * page_size or (size <= _CHECKED and _is_damaged(self._path)):
            self._cut = connection.files.main
            raise FileLost(_CUT)


def _is_damaged(path: Path) -> bool:
    """Look through a file with a connection that remembers nothing of it."""
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
