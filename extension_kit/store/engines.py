"""SQLAlchemy's engines for both stores, set up so that no wait is without an end."""

from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, QueuePool, create_engine, event

from extension_kit.store import deadline, postgresql, sqlite
from extension_kit.store.sqlite_file import FileWatch

_POOL: dict[str, Any] = {
    "poolclass": QueuePool,
    "pool_size": 5,
    "max_overflow": 15,
    "pool_timeout": 5.0,  # seconds
    "hide_parameters": True,  # events hold what must not get into logs
}
_POSTGRESQL = {
    "application_name": "extension-kit",
    "connect_timeout": "5",  # seconds
    # A server that is gone without a word is noticed: in milliseconds for what was sent, and seconds for what is idle.
    "tcp_user_timeout": "10000",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
}
_POSTGRESQL_OPTIONS = (
    "-c statement_timeout=30s -c idle_in_transaction_session_timeout=60s -c timezone=UTC"
    r" -c default_transaction_isolation=read\ committed"
    # Plans are kept, and tables grow: one that was made when they were empty would look through all of them for ever.
    " -c enable_seqscan=off"
    # Its makers compile what costs much by an estimate; for our statements that takes longer than to do them.
    " -c jit=off"
)
_LOCK_SHARE = 0.8  # of the time for a transaction; the rest is for saying what it has waited for
_UNFLUSHED = " -c synchronous_commit=off"

READING: dict[str, dict[str, Any]] = {
    "sqlite": {"extension_kit_reads": True},
    "postgresql": {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True},
}
"""Execution options of a connection that only reads, and sees one state of the database, by store."""


def sqlite_engine(path: Path, watch: FileWatch, *, flush: bool) -> Engine:
    """Make an engine for a file, whose transactions take the file's write lock unless they are ``READING``.

    None begins in a file that is not at its path any more, which ``watch`` finds out.
    """
    engine = create_engine("sqlite://", creator=partial(sqlite.connect, path, flush=flush), **_POOL)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        driver: Any = connection.connection.driver_connection
        if connection.get_execution_options().get("extension_kit_reads"):
            driver.execute("BEGIN")
            watch.check_names(driver)
        else:
            sqlite.begin(driver, deadline.limit().left())
            watch.check(driver)

    return engine


def postgresql_engine(url: URL, *, flush: bool, timeout: float) -> Engine:
    """Make an engine for PostgreSQL; what the URL's query says comes before our own choices.

    Args:
        url: where it is.
        flush: whether a commit waits for the disk.
        timeout: seconds that a transaction may take.
    """
    ours = {name: value for name, value in _POSTGRESQL.items() if name not in url.query}
    locks = f"-c lock_timeout={max(int(timeout * _LOCK_SHARE * 1000), 1)}ms"
    options = f"{_POSTGRESQL_OPTIONS} {locks}{'' if flush else _UNFLUSHED} {url.query.get('options', '')}"
    engine = create_engine(
        url.update_query_dict({**ours, "options": options}),
        isolation_level="READ COMMITTED",
        pool_pre_ping=True,
        **_POOL,
    )

    @event.listens_for(engine, "do_connect")
    def connect(dialect: Any, record: Any, arguments: Any, options: Any) -> postgresql.BoundedConnection:
        return postgresql.connect(*arguments, **options)

    return engine
