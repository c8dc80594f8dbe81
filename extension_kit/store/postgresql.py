"""Connections to PostgreSQL, on which no wait is without an end."""

import time
from collections.abc import Generator
from typing import Any

import psycopg
from psycopg import AsyncConnection, Connection

from extension_kit.store import deadline

_SHORTEST_CONNECT = 2  # seconds; libpq takes fewer for as many


class Silent(psycopg.OperationalError):
    """The server has not answered in time. The connection has been closed."""


class PooledServer(psycopg.OperationalError):
    """What answers is a connection pooler, and no server."""


class BoundedConnection(Connection[Any]):
    """A connection that waits for no answer longer than its thread does (``deadline``).

    The kernel notices a peer that is gone, but not one that is there and passes nothing on.
    """

    def wait(self, gen: Any, *arguments: Any, **options: Any) -> Any:
        """Wait for an answer.

        Raises:
            Silent: there was none in time.
        """
        limit = deadline.limit()
        return super().wait(_until(limit.end(), limit.seconds, gen, self), *arguments, **options)


class BoundedAsyncConnection(AsyncConnection[Any]):
    """The same for asyncio, with one limit for each answer."""

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
        psycopg.OperationalError: it cannot.
        Silent: there is no time left.
        PooledServer: it is one.
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


def _refuse_pooler(connection: BoundedConnection) -> None:
    """Refuse what hands one connection's statements to another one's session, by the session's number.

    A pooler makes up the number that it greets clients with.
    """
    connection.autocommit = True  # the question is to begin no transaction
    row = connection.execute("SELECT pg_backend_pid()").fetchone()
    connection.autocommit = False
    if row is not None and row[0] != connection.info.backend_pid:
        raise PooledServer("the session is another one's")


def _until(end: float, seconds: float, generator: Any, connection: Any) -> Generator[Any, Any, Any]:
    """Go on with one of psycopg's generators, which it asks now and again, until a moment."""
    try:
        wanted = next(generator)
        while True:
            ready = yield wanted
            if not ready and time.monotonic() > end:
                connection.pgconn.finish()  # what the server still says must not be taken for another answer
                raise Silent(f"no answer within {seconds:g} s")
            wanted = generator.send(ready)
    except StopIteration as ended:
        return ended.value
