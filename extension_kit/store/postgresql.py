"""Connections to PostgreSQL, with a timeout for every wait."""

import select
import time
from collections.abc import Generator, Sequence
from typing import Any, LiteralString

import psycopg
from psycopg import AsyncConnection, Connection

from extension_kit.store import deadline

_SHORTEST_CONNECT = 2  # seconds; libpq rounds fewer up to 2


class Silent(psycopg.OperationalError):
    """The server has not answered in time. The connection has been closed."""


class PooledServer(psycopg.OperationalError):
    """The connection leads to a connection pooler instead of a server."""


class BoundedConnection(Connection[Any]):
    """A connection that waits for answers within its thread's limit (``deadline``).

    The kernel detects a vanished peer, but not one that is alive and silent.
    """

    def wait(self, gen: Any, *arguments: Any, **options: Any) -> Any:
        """Wait for an answer.

        Raises:
            Silent: there was none in time.
        """
        limit = deadline.limit()
        return super().wait(_until(limit.end(), limit.seconds, gen, self), *arguments, **options)


class BoundedAsyncConnection(AsyncConnection[Any]):
    """A bounded connection for asyncio, with one limit for each answer."""

    patience = deadline.LONG
    """Seconds for each answer."""

    async def wait(self, gen: Any, *arguments: Any, **options: Any) -> Any:
        """Wait for an answer.

        Raises:
            Silent: there was none in time.
        """
        bounded = _until(time.monotonic() + self.patience, self.patience, gen, self)
        return await super().wait(bounded, *arguments, **options)


def connect(*arguments: Any, **options: Any) -> BoundedConnection:
    """Connect, as ``psycopg.connect`` does, within the limit of the thread.

    Raises:
        psycopg.OperationalError: the connection failed.
        Silent: there is no time left.
        PooledServer: a connection pooler answered.
    """
    limit = deadline.limit()
    if not (left := limit.left()):
        raise Silent(f"no answer within {limit.seconds:g} s")
    most = min(int(options.get("connect_timeout") or left), left)
    connection = BoundedConnection.connect(
        *arguments, **{**options, "connect_timeout": max(int(most), _SHORTEST_CONNECT)}
    )
    try:
        _refuse_pooler(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def execute_alone(connection: Connection[Any], statement: LiteralString, values: Sequence[Any]) -> None:
    """Execute one statement in a transaction of its own, which takes one round trip instead of three."""
    connection.autocommit = True
    try:
        connection.execute(statement, values)
    finally:
        if not connection.closed:
            connection.autocommit = False


def is_gone(connection: Connection[Any]) -> bool:
    """Return True if the server has closed an idle connection. It says so, and so this takes no question to it."""
    readable = select.poll()
    try:
        readable.register(connection.fileno(), select.POLLIN)
        while readable.poll(0):  # a notice is no end
            connection.pgconn.consume_input()
    except psycopg.Error:
        return True
    return False


def _refuse_pooler(connection: BoundedConnection) -> None:
    """Refuse a connection pooler, by comparing the session's number with the one in the greeting.

    A pooler makes up the number in its greeting to clients.
    """
    connection.autocommit = True  # the query must not begin a transaction
    row = connection.execute("SELECT pg_backend_pid()").fetchone()
    connection.autocommit = False
    if row is not None and row[0] != connection.info.backend_pid:
        raise PooledServer("the session is another one's")


def _until(end: float, seconds: float, generator: Any, connection: Any) -> Generator[Any, Any, Any]:
    """Drive one of psycopg's generators until it ends, or until ``end``; psycopg polls it at intervals."""
    try:
        wanted = next(generator)
        while True:
            ready = yield wanted
            if not ready and time.monotonic() > end:
                connection.pgconn.finish()  # a late answer must not be taken for the next one
                raise Silent(f"no answer within {seconds:g} s")
            wanted = generator.send(ready)
    except StopIteration as ended:
        return ended.value
