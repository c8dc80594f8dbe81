"""SQLAlchemy's engines for both stores, with a timeout for every wait."""

import sqlite3
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, FromClause, QueuePool, create_engine, event
from sqlalchemy.dialects.sqlite.base import SQLiteCompiler
from sqlalchemy.exc import DisconnectionError

from extension_kit.store import deadline, postgresql, sqlite
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
_POSTGRESQL_OPTIONS = (
    "-c statement_timeout=30s -c idle_in_transaction_session_timeout=60s -c timezone=UTC"
    r" -c default_transaction_isolation=read\ committed"
    # Plans are kept while tables grow: a plan made for empty tables would scan them whole for ever.
    " -c enable_seqscan=off"
    # PostgreSQL compiles statements of a high estimated cost; for ours that takes longer than running them.
    " -c jit=off"
)
_LOCK_SHARE = 0.8  # of the transaction timeout; the rest is for the error that names the lock
_UNFLUSHED = " -c synchronous_commit=off"

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


def postgresql_engine(url: URL, *, flush: bool, timeout: float) -> Engine:
    """Make an engine for PostgreSQL; options in the URL's query override our own.

    Args:
        url: of the database.
        flush: True: a commit waits for the disk.
        timeout: seconds for a transaction.
    """
    ours = {name: value for name, value in _POSTGRESQL.items() if name not in url.query}
    locks = f"-c lock_timeout={max(int(timeout * _LOCK_SHARE * 1000), 1)}ms"
    options = f"{_POSTGRESQL_OPTIONS} {locks}{'' if flush else _UNFLUSHED} {url.query.get('options', '')}"
    engine = create_engine(
        url.update_query_dict({**ours, "options": options}),
        isolation_level="READ COMMITTED",
        **_POOL,
    )

    @event.listens_for(engine, "do_connect")
    def connect(dialect: Any, record: Any, arguments: Any, options: Any) -> postgresql.BoundedConnection:
        return postgresql.connect(*arguments, **options)

    @event.listens_for(engine, "checkout")
    def check(driver: Any, record: Any, proxy: Any) -> None:
        if postgresql.is_gone(driver):
            raise DisconnectionError  # the pool makes another

    return engine
