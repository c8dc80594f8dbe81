"""Spare connection: the connection of the last transaction, kept for the next one.

Taking a connection from SQLAlchemy's pool, and putting it back, takes as long as writing several events.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine


class SpareConnection:
    """Begins transactions, each with the connection that is kept, or with one of the pool while that is in use.

    Args:
        engine: has the pool, which the kept connection counts for, too.
        is_gone: tells of a connection of the driver if it cannot be used any more.
        after_commit: called with the connection of the driver after each commit; its exceptions are the transaction's.
    """

    def __init__(
        self,
        engine: Engine,
        is_gone: Callable[[Any], bool] = lambda driver: False,
        after_commit: Callable[[Any], object] = lambda driver: None,
    ) -> None:
        self._engine = engine
        self._is_gone = is_gone
        self._after_commit = after_commit
        self._lock = threading.Lock()
        self._kept: Connection | None = None
        self._is_closed = False

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """Begin a transaction: committed at the end, rolled back on an exception."""
        connection = self._take()
        try:
            with connection.begin():
                yield connection
            self._after_commit(connection.connection.driver_connection)
        except BaseException:
            self._give_back(connection)
            raise
        self._keep(connection)

    @contextmanager
    def driver(self) -> Iterator[Any]:
        """Lend the connection of the driver, for a statement that begins and ends its transaction itself."""
        connection = self._take()
        try:
            driver = connection.connection.driver_connection
            yield driver
            self._after_commit(driver)
        except BaseException:
            if self._is_gone(connection.connection.driver_connection):
                connection.invalidate()  # SQLAlchemy has not seen the error
            self._give_back(connection)
            raise
        self._keep(connection)

    def close(self) -> None:
        """Give the connection back to the pool, as from now on all others."""
        with self._lock:
            self._is_closed = True
            kept, self._kept = self._kept, None
        if kept is not None:
            kept.close()

    def _take(self) -> Connection:
        with self._lock:
            kept, self._kept = self._kept, None
        if kept is None:
            return self._engine.connect()
        if self._is_gone(kept.connection.driver_connection):
            kept.invalidate()
            kept.close()
            return self._engine.connect()
        return kept

    def _keep(self, connection: Connection) -> None:
        with self._lock:
            if not self._is_closed and self._kept is None:
                self._kept = connection
                return
        self._give_back(connection)

    def _give_back(self, connection: Connection) -> None:
        if self._is_closed:  # the pool that it is of has been closed, and would keep it open
            connection.invalidate()
        connection.close()
