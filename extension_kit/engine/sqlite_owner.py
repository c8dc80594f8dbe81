"""SQLite owner: one worker makes all deliveries of a database file; others stand by.

The worker holds a lock on a file beside the database. The kernel releases it when the process ends, however it ends.
The file stays: were it removed, two workers could each lock one of their own.
"""

import fcntl
import logging
import os
import sqlite3
import time
import weakref
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from sqlalchemy import Connection

from extension_kit.errors import StoreUnavailable
from extension_kit.store.database import Database

logger = logging.getLogger("extension_kit.engine")

_SHARD = 0
# Seconds. A look takes 0.15 ms of CPU time, nearly all of it for waking up.
_POLL, _POLL_QUIET, _QUIET_AFTER = 0.005, 0.01, 10.0


class SqliteOwner:
    """The only shard of a SQLite database.

    Args:
        database: the database, used by one thread only.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._driver: Any = None
        self._version: Any = None
        self._path = database.path.with_name(f"{database.path.name}-worker")
        self._file: int | None = None
        self._stands_by = False
        self._claimed_at = time.monotonic()
        _owners.add(self)

    @property
    def poll(self) -> float:
        """Seconds between two calls of ``has_news``."""
        return _POLL if time.monotonic() - self._claimed_at < _QUIET_AFTER else _POLL_QUIET

    def expect_more(self) -> None:
        """Make ``poll`` short for some seconds. Commits alone do not: workers write a row now and then."""
        self._claimed_at = time.monotonic()

    @property
    def shards(self) -> list[int]:
        """The shard, if this worker has it."""
        return [] if self._file is None else [_SHARD]

    def look(self, busy: Collection[int]) -> list[int]:
        """Take the shard if no other worker has it; return it if it was taken.

        Raises:
            StoreUnavailable: the file cannot be locked, or was removed while it was.
        """
        if self._file is not None:
            if not self._is_at_path(self._file):
                self.close()
                raise StoreUnavailable(f"The file {self._path} was removed while a worker used it: let it stay there")
            return []
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StoreUnavailable(
                f"The file {self._path} cannot be opened ({error.strerror}): let this user write it, and its folder"
            ) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            if not self._stands_by:
                logger.info("Another worker makes the deliveries of %s, standing by", self._database.name)
            self._stands_by = True
            return []
        except OSError as error:
            os.close(file)
            raise StoreUnavailable(
                f"The file {self._path} cannot be locked ({error.strerror}): put the database on a local disk"
            ) from error
        if not self._is_at_path(file):  # removed before it was locked
            os.close(file)
            return []
        self._file, self._stands_by = file, False
        return [_SHARD]

    def _is_at_path(self, file: int) -> bool:
        try:
            return os.path.samestat(os.stat(self._path), os.fstat(file))
        except FileNotFoundError:
            return False

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Read and write in a transaction."""
        with self._database.transaction() as connection:
            driver = connection.connection.driver_connection
            if driver is not self._driver:
                self._driver, self._version = driver, None
            yield connection

    def has_news(self) -> bool:
        """Return True if another connection has committed since the last call."""
        if self._driver is None:
            return False
        version = self._read_version()
        is_new = bool(version != self._version)
        self._version = version
        return is_new

    def _read_version(self) -> Any:
        """Return a number that every commit of another connection changes, and none of this one."""
        try:
            return self._driver.execute("PRAGMA data_version").fetchone()
        except sqlite3.Error:  # closed: the next transaction opens another
            self._driver = None
            return None

    def close(self) -> None:
        """Give the shard up."""
        if self._file is not None:
            with suppress(OSError):
                os.close(self._file)
            self._file = None


_owners: weakref.WeakSet[SqliteOwner] = weakref.WeakSet()


def _close_after_fork() -> None:
    """Close the files in a forked process, which would keep the locks after the end of its parent."""
    for owner in list(_owners):
        owner.close()


os.register_at_fork(after_in_child=_close_after_fork)
