"""Database: the connections of each process, transactions, and errors for users."""

import math
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple
from weakref import WeakSet

import psycopg
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError

from extension_kit.errors import StoreUnavailable
from extension_kit.store import deadline, postgresql, sqlite, version
from extension_kit.store.connector import Connector
from extension_kit.store.engines import READING, PostgresqlEngine, postgresql_engine, sqlite_engine
from extension_kit.store.errors import translate, waited_for_others
from extension_kit.store.postgresql import BoundedConnection
from extension_kit.store.room import check_room, has_plenty
from extension_kit.store.silence import Silence
from extension_kit.store.spare_connection import SpareConnection
from extension_kit.store.sqlite_file import FileReplaced, FileWatch
from extension_kit.store.urls import parsed

_ROOM_KNOWN = 0.1  # seconds for which plenty of room is remembered


class _Process(NamedTuple):
    """Objects of one process, useless in the processes it forks; the connector is PostgreSQL's."""

    engine: Engine
    connector: Connector | None
    spare: SpareConnection
    write_lock: AbstractContextManager[None]


class _WriteLock:
    """Lock between the threads that write to a SQLite file, so that they do not poll the file's own lock."""

    def __init__(self, path: Path, database: str) -> None:
        self._database = database
        self._lock = sqlite.write_lock(path)

    def __enter__(self) -> None:
        if not self._lock.acquire(timeout=min(sqlite.WAIT, deadline.limit().left())):
            raise StoreUnavailable(f"The database {self._database} is busy: another thread writes for too long", 1.0)

    def __exit__(self, *exception: object) -> None:
        self._lock.release()


class Database:
    """A SQLite file or a PostgreSQL database.

    Connections are made at first use. A process that was forked makes its own and leaves its parent's alone. With
    SQLite, no transaction may be open at that moment.

    Args:
        url: ``sqlite:///FILE``, or ``postgresql://USER:PASSWORD@HOST/DATABASE`` with libpq's options as its query.
        flush: True: a commit waits for the disk. False: a commit still survives the death of any process, but a power
            failure may lose the last ones.
        timeout: seconds after which an open transaction fails, unless its thread is patient (``deadline``). A hanging
            SQLite statement cannot be ended; waiting for a lock can.

    Raises:
        SettingError: the URL is neither of these.
    """

    def __init__(self, url: str, *, flush: bool = True, timeout: float = 5.0) -> None:
        self.url = parsed(url)
        self.timeout = timeout
        self.flush = flush
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self.path = Path(self.url.database or "").absolute()
        """Path of a SQLite database's file."""
        if self.is_sqlite:
            self.url = self.url.set(database=str(self.path))
        self.name = self.url.set(drivername=self.url.get_backend_name(), query={}).render_as_string()
        """Name in messages: the URL without secrets, with a file's absolute path."""
        self._processes: dict[int, _Process] = {}
        self._silence = Silence()
        self._has_plenty, self._room_until = False, -math.inf
        if self.is_sqlite:
            _sqlite_databases.add(self)

    @property
    def engine(self) -> Engine:
        """SQLAlchemy's engine of this process, for uses beside ``transaction`` and ``read``."""
        return self._process().engine

    @property
    def is_pooled(self) -> bool:
        """True once this process has found out, by a connection, that a pooler is between it and PostgreSQL."""
        connector = self._process().connector
        return connector is not None and connector.is_pooled

    def open_session(self) -> BoundedConnection:
        """Open a connection to PostgreSQL with a session of its own also behind a pooler, for locks and notifications.

        Raises:
            StoreError: the database cannot be used, or a pooler shares sessions between transactions.
        """
        with self._understood(None):
            return self._sessions.connect_alone()

    def create(self) -> None:
        """Create the file of a SQLite database, unless it exists.

        Raises:
            StoreUnavailable: the file cannot be created.
        """
        if self.is_sqlite:
            try:
                sqlite.create(self.path)
            except OSError as error:
                raise StoreUnavailable(f"The database {self.name} cannot be created: {error.strerror}") from error

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Read and write in a transaction: committed at the end, rolled back on an exception.

        Raises:
            StoreError: the database cannot be used; nothing was written.
        """
        process = self._process()
        with self._understood(self._silence), process.write_lock, process.spare.begin() as connection:
            yield connection

    def execute_alone(self, statement: str, values: Sequence[Any]) -> None:
        """Execute one statement of the driver in a transaction of its own, which costs much less than ``transaction``.

        Args:
            statement: in the driver's form, with a place for each value.
            values: of the driver's types.

        Raises:
            StoreError: the database cannot be used; nothing was written.
        """
        process = self._process()
        with self._understood(self._silence), process.write_lock, process.spare.driver() as driver:
            if self.is_sqlite:
                sqlite.execute_alone(driver, statement, values, deadline.limit().left())
            else:
                postgresql.execute_alone(driver, statement, values)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Read in a transaction that sees one state of the database and blocks no writer.

        Raises:
            StoreError: the database cannot be used.
        """
        # Reading a file waits for no lock: its success says nothing about writing.
        with self._understood(None if self.is_sqlite else self._silence), self.engine.connect() as connection:
            yield connection.execution_options(**READING[self.url.get_backend_name()])

    def check_writable(self) -> None:
        """Write without changing anything; takes no space, but waits for the disk as every commit does.

        Raises:
            StoreUnavailable: the database cannot be written at the moment.
            OlderSchema: it has to be upgraded.
            NewerSchema: this release cannot use it.
        """
        with self.transaction() as connection:
            self.rewrite_version(connection)

    def rewrite_version(self, connection: Connection) -> None:
        """Rewrite the version of the tables unchanged, within the transaction of a connection.

        Raises:
            OlderSchema: it has to be upgraded.
            NewerSchema: this release cannot use it.
        """
        written = text(f"UPDATE {version.TABLE} SET version_num = version_num RETURNING version_num")  # noqa: S608
        version.check(connection.execute(written).scalar(), self.name)

    def check_room(self, connection: Connection, more: int = 0, *, share: float = 1.0) -> None:
        """Check, within a transaction, that a SQLite database may grow; PostgreSQL's disk is not checked.

        Args:
            connection: in the transaction.
            more: bytes to be added.
            share: multiple of the space that has to be left.

        Raises:
            StoreFull: the disk is almost full; ended events have to be deleted first.
            StoreUnavailable: the file is gone.
        """
        if self.is_sqlite:
            check_room(connection, self.path, self.name, more, share)

    def has_plenty_of_room(self) -> bool:
        """Return True if ``check_room`` need not be asked, as of a moment ago; always on PostgreSQL."""
        if not self.is_sqlite:
            return True
        now = time.monotonic()
        if now >= self._room_until:
            self._has_plenty, self._room_until = has_plenty(self.path), now + _ROOM_KNOWN
        return self._has_plenty

    def shrink_log(self) -> None:
        """Give the space of a SQLite file's write-ahead log back to the file system, unless others are reading it.

        Raises:
            StoreError: the database cannot be used.
        """
        if self.is_sqlite:
            with self._understood(None), self._process().write_lock:
                sqlite.shrink_log(self.path)

    def vacuum(self, pages: int) -> None:
        """Give at most ``pages`` free pages of a SQLite file back to the file system.

        Raises:
            StoreError: the database cannot be used.
        """
        with self._understood(None), self._process().write_lock:
            sqlite.vacuum(self.path, pages)

    def dispose(self) -> None:
        """Close this process's connections."""
        if (process := self._processes.pop(os.getpid(), None)) is not None:
            process.spare.close()
            process.engine.dispose()

    @cached_property
    def _sessions(self) -> PostgresqlEngine:
        return postgresql_engine(self.url, flush=self.flush, timeout=self.timeout, session={})

    def _process(self) -> _Process:
        """Return the objects of this process. Those of other processes are left alone: they must not be closed here."""
        pid = os.getpid()
        if (process := self._processes.get(pid)) is not None:
            return process
        if self.is_sqlite:
            watch = FileWatch(self.path)
            engine = sqlite_engine(self.path, watch, flush=self.flush)
            # A commit to a removed file is lost.
            spare = SpareConnection(engine, after_commit=watch.glance)
            made = _Process(engine, None, spare, _WriteLock(self.path, self.name))
        else:
            engine, connector = postgresql_engine(self.url, flush=self.flush, timeout=self.timeout)
            made = _Process(engine, connector, SpareConnection(engine, postgresql.is_gone), nullcontext())
        return self._processes.setdefault(pid, made)

    @contextmanager
    def _understood(self, silence: Silence | None) -> Iterator[None]:
        """Limit the time, translate errors for users, and record if the database answers."""
        if silence is not None:
            silence.admit(self.timeout)
        with deadline.within(self.timeout) as limit:
            try:
                yield
            except (SQLAlchemyError, sqlite3.Error, psycopg.Error, StoreUnavailable) as error:
                meaning = error if isinstance(error, StoreUnavailable) else translate(error, self.name)
                if meaning is None:
                    raise
                if isinstance(error, FileReplaced):
                    self.dispose()  # the next call opens the new file
                if silence is not None:
                    meaning = silence.judge(meaning, limit, is_answer=waited_for_others(error))
                raise meaning from error
        if silence is not None:
            silence.end()


_sqlite_databases: WeakSet[Database] = WeakSet()


def _close_before_fork() -> None:
    """Close connections to files: SQLite in the forked process would believe that it holds its parent's locks.

    Other processes could then remove the write-ahead log that it writes to (SQLite's documentation, "How To Corrupt An
    SQLite Database File", 2.6).
    """
    for database in list(_sqlite_databases):
        database.dispose()


os.register_at_fork(before=_close_before_fork)
