"""Connector: makes the connections of one engine to PostgreSQL, and finds out if they lead to a connection pooler.

A pooler makes up the number of the session in its greeting, as PgBouncer does, or refuses settings at the start. Behind
it, a session may be another one for each transaction: settings are given with each, and no statement is prepared. That
takes as many round trips as without one.
"""

import re
from contextlib import ExitStack
from typing import Any

import psycopg

from extension_kit.store.postgresql import BoundedConnection, PooledConnection, PoolerUnfit, opened
from extension_kit.store.session_settings import SessionSettings

# PgBouncer's and RDS Proxy's answers to settings of a session, which they cannot keep apart from those of others.
_REFUSED = re.compile("unsupported startup parameter|support command-line options", re.IGNORECASE)

_OTHERS = 3  # further connections, by which a pooler that shares sessions shows it
_ROUNDS = 2


class Connector:
    """Makes connections. Once it has found a pooler, all of its connections are made for one.

    Args:
        settings: of the sessions.
        keeps_session: True makes connections that have a session to themselves, for locks and notifications.
    """

    def __init__(self, settings: SessionSettings, *, keeps_session: bool = False) -> None:
        self.is_pooled = False
        """True once a connection has led to a pooler."""
        self._settings = settings
        self._keeps_session = keeps_session

    def connect(self, **arguments: Any) -> BoundedConnection:
        """Connect, as ``psycopg.connect`` does, within the limit of the thread.

        Raises:
            psycopg.OperationalError: the connection failed.
            Silent: there is no time left.
            PoolerUnfit: a pooler shares sessions between transactions, and this one has to be kept.
        """
        if not self.is_pooled:
            if (connection := self._without_pooler(arguments)) is not None:
                return connection
            self.is_pooled = True
        # An empty text, because without one libpq takes that of the environment.
        arguments = {**arguments, "options": ""}
        if self._keeps_session:
            return self._with_own_session(arguments)
        begin_with = self._settings.of_transaction()
        pooled = opened(PooledConnection, arguments)
        pooled.prepare_threshold = None
        pooled.begin_with = begin_with
        return pooled

    def _without_pooler(self, arguments: dict[str, Any]) -> BoundedConnection | None:
        """Connect with the settings; return None if a pooler has answered."""
        try:
            connection = opened(BoundedConnection, {**arguments, "options": self._settings.options})
        except psycopg.OperationalError as error:
            if _REFUSED.search(str(error)):
                return None
            raise
        with ExitStack() as stack:
            stack.callback(connection.close)
            if _number(connection) != connection.info.backend_pid:
                return None
            stack.pop_all()
        return connection

    def _with_own_session(self, arguments: dict[str, Any]) -> BoundedConnection:
        with ExitStack() as stack:
            connection = opened(BoundedConnection, arguments)
            stack.callback(connection.close)
            with ExitStack() as others:
                connections = [connection]
                for _ in range(_OTHERS):
                    connections.append(opened(BoundedConnection, arguments))
                    others.callback(connections[-1].close)
                if _are_shared(connections):
                    raise PoolerUnfit(
                        "a worker needs sessions of its own, and the pooler gives each transaction another one: set "
                        "EXTENSION_DATABASE_DIRECT_URL to the URL of the PostgreSQL server itself, or give the pooler "
                        "pool_mode=session"
                    )
            connection.autocommit = True
            connection.execute(self._settings.of_session())
            connection.autocommit = False
            stack.pop_all()
        return connection


def _number(connection: BoundedConnection) -> int:
    """Return the number of the session that a statement has."""
    connection.autocommit = True  # it must not begin a transaction
    row = connection.execute("SELECT pg_backend_pid()").fetchone()
    connection.autocommit = False
    return 0 if row is None else int(row[0])


def _are_shared(connections: list[BoundedConnection]) -> bool:
    """Return True if statements show that connections share sessions, or that one of them has several.

    A pooler takes the session that was used last, so that another connection gets it, or the one that was not used for
    the longest time, so that the same connection gets another one when it asks twice. With several processes of a
    pooler behind one address, at least two of the connections lead to the same, if these are not more.
    """
    found: dict[int, set[int]] = {place: set() for place in range(len(connections))}
    for _ in range(_ROUNDS):
        for place, connection in enumerate(connections):
            found[place] |= {_number(connection), _number(connection)}
    return len(set.union(*found.values())) < len(connections) or any(len(numbers) > 1 for numbers in found.values())
