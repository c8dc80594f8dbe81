"""PostgreSQL owner: session advisory locks say which worker owns a shard.

The locks are taken on the session in which the worker claims and ends deliveries. If the server ends the session, it
frees the locks, and every later statement of the worker fails. The server ends the session of a worker that is silent,
frozen or cut off. Each worker has a shared lock on one more key, so that all know how many there are.
"""

import math
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from random import SystemRandom
from typing import Any

import psycopg
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from extension_kit.deliveries.shards import NUMBER
from extension_kit.errors import StoreUnavailable
from extension_kit.store import deadline
from extension_kit.store.database import Database
from extension_kit.store.engines import postgresql_engine
from extension_kit.store.errors import translate

_MEMBER = 1000  # the key of the shared lock; shards have the keys from 0
_OLDEST = 140000  # version of the server
_AGAIN = 0.2  # seconds for taking one's own shards again after a lost connection
_GRACE = 1.0  # seconds after a lost connection in which no other shards are taken

_SHARED = "this worker the session of another: set EXTENSION_DATABASE_DIRECT_URL"

_CLASS = "SELECT 'deliveries'::regclass::oid::bigint"
_HELD = """
SELECT objid::bigint, pid = pg_backend_pid() FROM pg_locks
WHERE locktype = 'advisory' AND objsubid = 2 AND granted AND classid = %s::bigint::oid
AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
_JOIN = "SELECT pg_try_advisory_lock_shared(%s::integer, %s::integer)"
_TAKE = "SELECT key FROM unnest(%s::integer[]) AS key WHERE pg_try_advisory_lock(%s::integer, key)"
_GIVE = "SELECT pg_advisory_unlock(%s::integer, key) FROM unnest(%s::integer[]) AS key"


class PostgresqlOwner:
    """The shards of one worker in a PostgreSQL database.

    Args:
        database: the database, by a URL with which a session can be kept.
        stalled_after: seconds of silence after which the server ends the session.
    """

    def __init__(self, database: Database, stalled_after: float) -> None:
        self._database = database
        self._engine = _engine(database, stalled_after)
        self._connection: Connection | None = None
        self._class = 0
        self._owned: set[int] = set()
        self._leaving: set[int] = set()
        self._lost: set[int] = set()
        self._lost_at = -math.inf

    @property
    def poll(self) -> float:
        """Seconds between two calls of ``has_news``: none are needed."""
        return math.inf

    def has_news(self) -> bool:
        """Return False: the server notifies workers (``Notifications``)."""
        return False

    def expect_more(self) -> None:
        """Do nothing, as there is no poll."""

    @property
    def shards(self) -> list[int]:
        """The shards from which deliveries may be claimed."""
        return sorted(self._owned - self._leaving)

    def look(self, busy: Collection[int]) -> list[int]:
        """Take free shards, and give up some if other workers have too few; return those that were taken."""
        with self._understood():
            if self._connection is None:
                self._connection = self._engine.connect()
                with self._connection.begin():
                    taken = self._take_again()
            else:
                taken = []
            with self._connection.begin():
                held = self._execute(_HELD, self._class).fetchall()
                if (_MEMBER, True) not in held:
                    raise StoreUnavailable(f"{self._database.name} is behind a pooler that has given {_SHARED}", 1.0)
                members = sum(key == _MEMBER for key, _ in held)
                theirs = {key for key, is_mine in held if not is_mine}
                share = -(-NUMBER // max(members, 1))
                if len(self._owned) < share and time.monotonic() - self._lost_at > _GRACE:
                    free = [shard for shard in range(NUMBER) if shard not in theirs and shard not in self._owned]
                    SystemRandom().shuffle(free)
                    taken += self._take(free[: share - len(self._owned)])
                self._leave(share, busy)
        return taken

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Read and write in a transaction of the session that has the locks."""
        with self._understood():
            if self._connection is None:
                raise StoreUnavailable(f"The connection to {self._database.name} was lost", 1.0)
            with self._connection.begin():
                yield self._connection

    def close(self) -> None:
        """Give all shards up, and close the connection."""
        self._drop()
        self._lost.clear()
        self._engine.dispose()

    def _leave(self, share: int, busy: Collection[int]) -> None:
        """Stop claiming in shards that others should have, and give those up that hold no claim any more."""
        surplus = len(self._owned) - share
        leaving = [shard for shard in sorted(self._leaving) if shard in self._owned]
        leaving += [shard for shard in sorted(self._owned) if shard not in leaving and shard not in busy]
        leaving += [shard for shard in sorted(self._owned) if shard not in leaving]
        self._leaving = set(leaving[: max(surplus, 0)])
        idle = sorted(self._leaving - set(busy))
        if idle:
            self._execute(_GIVE, self._signed, idle)
            self._owned -= set(idle)
            self._leaving -= set(idle)

    def _take_again(self) -> list[int]:
        """Take the shards that were lost with the last connection, unless others have them."""
        version = self._driver.info.server_version
        if version < _OLDEST:
            raise StoreUnavailable(f"{self._database.name} is PostgreSQL {version // 10000}; workers need 14 or later")
        (self._class,) = self._execute(_CLASS).fetchone()
        self._execute(_JOIN, self._signed, _MEMBER)
        taken: list[int] = []
        until = time.monotonic() + _AGAIN
        while left := self._lost - set(taken):
            taken += self._take(sorted(left))
            if time.monotonic() > until:
                break
            time.sleep(_AGAIN / 10)
        self._lost.clear()
        return taken

    def _take(self, shards: Sequence[int]) -> list[int]:
        if not shards:
            return []
        taken = [shard for (shard,) in self._execute(_TAKE, list(shards), self._signed)]
        self._owned |= set(taken)
        return taken

    @property
    def _signed(self) -> int:
        """The class of the locks as PostgreSQL's functions take it."""
        return self._class if self._class < 2**31 else self._class - 2**32

    @property
    def _driver(self) -> Any:
        assert self._connection is not None  # noqa: S101 (the callers have connected)
        return self._connection.connection.driver_connection

    def _execute(self, statement: str, *values: Any) -> Any:
        return self._driver.execute(statement, values)

    @contextmanager
    def _understood(self) -> Iterator[None]:
        """Limit the time, translate errors, and close the connection after any: that is the only way of recovery."""
        try:
            with deadline.within(self._database.timeout):
                yield
        except (SQLAlchemyError, psycopg.Error, StoreUnavailable) as error:
            self._drop()
            if isinstance(error, StoreUnavailable):
                raise
            meaning = translate(error, self._database.name)
            if meaning is None:
                raise
            raise meaning from error
        except BaseException:
            self._drop()
            raise

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(SQLAlchemyError, psycopg.Error):
                connection.invalidate()
                connection.close()
        self._lost |= self._owned
        self._owned.clear()
        self._leaving.clear()
        self._lost_at = time.monotonic()


def _engine(database: Database, stalled_after: float) -> Engine:
    silence = f"{max(int(stalled_after * 1000), 1000)}ms"
    session = {
        "idle_session_timeout": silence,
        "idle_in_transaction_session_timeout": silence,
        "client_connection_check_interval": "1s",
        "tcp_user_timeout": silence,
        "tcp_keepalives_idle": "1",
        "tcp_keepalives_interval": "1",
        "tcp_keepalives_count": "3",
    }
    return postgresql_engine(database.url, flush=False, timeout=database.timeout, session=session).engine
