"""Connections to PostgreSQL, with a timeout for every wait."""

import select
import time
from collections.abc import Generator, Mapping, Sequence
from typing import Any, LiteralString, TypeVar

import psycopg
from psycopg import AsyncConnection, ClientCursor, Connection, generators
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus, TransactionStatus

from extension_kit.store import deadline

C = TypeVar("C", bound="BoundedConnection")

_SHORTEST_CONNECT = 2  # seconds; libpq rounds fewer up to 2
_READ_COMMITTED = b"SET TRANSACTION ISOLATION LEVEL READ COMMITTED"


class Silent(psycopg.OperationalError):
    """The server has not answered in time. The connection has been closed."""


class PoolerUnfit(psycopg.OperationalError):
    """The connection leads to a connection pooler that cannot be used for this; the message has the remedy."""


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


class PooledConnection(BoundedConnection):
    """A connection to a pooler: its settings are given with each transaction, in the message that begins it."""

    begin_with = b""
    """The statements that give them."""

    def execute_alone(self, statement: LiteralString, values: Sequence[Any]) -> None:
        """Execute one statement in a transaction of its own, in one message, which is one transaction."""
        text = ClientCursor(self).mogrify(statement, values).encode(self.info.encoding)
        self.execute(b"; ".join((_READ_COMMITTED, self.begin_with, text)))

    def _start_query(self) -> Generator[Any, Any, None]:
        if self.autocommit or self.pgconn.transaction_status != TransactionStatus.IDLE:
            return
        self.pgconn.send_query(b"; ".join((self._get_tx_start_command(), self.begin_with)))
        *_, last = yield from generators.execute(self.pgconn)
        if last.status == ExecStatus.FATAL_ERROR:
            raise error_from_result(last, encoding=self.info.encoding)


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


def opened(kind: type[C], arguments: Mapping[str, Any]) -> C:
    """Open a connection of a class, as ``psycopg.connect`` does, within the limit of the thread.

    Raises:
        psycopg.OperationalError: the connection failed.
        Silent: there is no time left.
    """
    limit = deadline.limit()
    if not (left := limit.left()):
        raise Silent(f"no answer within {limit.seconds:g} s")
    most = min(int(arguments.get("connect_timeout") or left), left)
    return kind.connect(**{**arguments, "connect_timeout": max(int(most), _SHORTEST_CONNECT)})


def execute_alone(connection: Connection[Any], statement: LiteralString, values: Sequence[Any]) -> None:
    """Execute one statement in a transaction of its own, which takes one round trip instead of three."""
    connection.autocommit = True
    try:
        if isinstance(connection, PooledConnection):
            connection.execute_alone(statement, values)
        else:
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
