"""SQLAlchemy's engines for both stores, with a timeout for every wait."""

import sqlite3
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import URL, Connection, Engine, FromClause, QueuePool, create_engine, event
from sqlalchemy.dialects.sqlite.base import SQLiteCompiler
from sqlalchemy.exc import DisconnectionError

from extension_kit.store import deadline, sqlite
from extension_kit.store.connector import Connector
from extension_kit.store.postgresql import BoundedConnection, is_gone
from extension_kit.store.session_settings import SessionSettings
from extension_kit.store.sqlite_file import FileWatch

_POOL: dict[str, Any] = {
    "poolclass": QueuePool,
    "pool_size": 5,
    "max_overflow": 15,
    "pool_timeout": 5.0,  # seconds
    "hide_parameters": True,  # events may hold secrets, kept out of logs
}
_POSTGRESQL = {
    "application_name": "extension-kit",
    "connect_timeout": "5",  # seconds
    # Detect a server that vanished without closing: milliseconds for unacknowledged data, seconds for idle connections.
    "tcp_user_timeout": "10000",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
}
_SETTINGS = {
    "statement_timeout": "30s",
    "idle_in_transaction_session_timeout": "60s",
    "timezone": "UTC",
    "default_transaction_isolation": "read committed",
    # Plans are kept while tables grow: a plan made for empty tables would scan them whole for ever.
    "enable_seqscan": "off",
    # PostgreSQL compiles statements of a high estimated cost; for ours that takes longer than running them.
    "jit": "off",
}
_LOCK_SHARE = 0.8  # of the transaction timeout; the rest is for the error that names the lock
_UNFLUSHED = {"synchronous_commit": "off"}

READING: dict[str, dict[str, Any]] = {
    "sqlite": {"extension_kit_reads": True},
    "postgresql": {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True},
}
"""Execution options, by store, of a connection that only reads and sees one state of the database."""


class _Compiler(SQLiteCompiler):
    """Writes hints, such as ``INDEXED BY``, which SQLAlchemy has for other databases."""

    def get_from_hint_text(self, table: FromClause, text: str | None) -> str | None:
        return text


def sqlite_engine(path: Path, watch: FileWatch, *, flush: bool) -> Engine:
    """Make an engine for a SQLite file. Its transactions take the write lock of the file unless they are ``READING``.

    ``watch`` checks that the file is still at its path before a transaction begins.
    """
    engine = create_engine("sqlite://", creator=partial(sqlite.connect, path, flush=flush), **_POOL)
    engine.dialect.statement_compiler = _Compiler

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        driver: Any = connection.connection.driver_connection
        if connection.get_execution_options().get("extension_kit_reads"):
            driver.execute("BEGIN")
            watch.check_names(driver)
        else:
            try:
                sqlite.begin(driver, deadline.limit().left())
            except sqlite3.DatabaseError as error:
                watch.explain(driver, error)
                raise
            watch.check(driver)

    return engine


class PostgresqlEngine(NamedTuple):
    """An engine for PostgreSQL, and the connector that makes its connections."""

    engine: Engine
    connector: Connector

    def connect_alone(self) -> BoundedConnection:
        """Make a connection that is none of the engine's pool, as the connector does.

        Raises:
            psycopg.OperationalError: it failed.
        """
        return self.connector.connect(**self.engine.dialect.create_connect_args(self.engine.url)[1])


def postgresql_engine(
    url: URL, *, flush: bool, timeout: float, session: Mapping[str, str] | None = None
) -> PostgresqlEngine:
    """Make an engine for PostgreSQL; options in the URL's query override our own.

    Args:
        url: of the database.
        flush: True: a commit waits for the disk.
        timeout: seconds for a transaction.
        session: None: behind a connection pooler, transactions may have different sessions. Else further settings of
            connections that keep their session, which override those of the URL.
    """
    ours = {name: value for name, value in _POSTGRESQL.items() if name not in url.query}
    locks = {"lock_timeout": f"{max(int(timeout * _LOCK_SHARE * 1000), 1)}ms"}
    given = str(url.query.get("options", ""))
    further = SessionSettings(session or {}).options
    settings = SessionSettings({**_SETTINGS, **locks, **({} if flush else _UNFLUSHED)}, f"{given} {further}")
    connector = Connector(settings, keeps_session=session is not None)
    engine = create_engine(
        url.difference_update_query(["options"]).update_query_dict(ours),
        isolation_level="READ COMMITTED",
        **_POOL,
    )

    @event.listens_for(engine, "do_connect")
    def connect(dialect: Any, record: Any, arguments: Any, options: Any) -> BoundedConnection:
        return connector.connect(**options)

    @event.listens_for(engine, "checkout")
    def check(driver: Any, record: Any, proxy: Any) -> None:
        if is_gone(driver):
            raise DisconnectionError  # the pool makes another

    return PostgresqlEngine(engine, connector)
