"""Brings the tables of a database up to date."""

import logging
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import Connection, inspect, text

from extension_kit.store import version
from extension_kit.store.database import Database

logger = logging.getLogger("extension_kit.store")

_MIGRATIONS = Path(__file__).with_name("migrations")
_LOCK = 0x657874656E73696F  # PostgreSQL's name for "we are being upgraded": any number that others do not use


def current(database: Database) -> str | None:
    """Find the version of the tables; None where there are none.

    Raises:
        StoreError: the database cannot be read.
    """
    with database.read() as connection:
        return _version(connection)


def upgrade(
    database: Database, create_engine_tables: Callable[[Connection], None], *, only_check: bool = False
) -> None:
    """Make the tables, or change those of an earlier release, all or nothing.

    Any number of processes may do it at the same time; all but one find nothing to do.

    Args:
        database: where to; the file of a SQLite database is made.
        create_engine_tables: makes what the engine needs, where it is missing, by the connection it is given.
        only_check: change nothing.

    Raises:
        OlderSchema: the database has to be upgraded, which it is not with ``only_check``.
        NewerSchema: a later release has upgraded it.
        StoreError: the database cannot be used.
    """
    if only_check:
        version.check(current(database), database.name)
        return
    database.create()
    with database.transaction() as connection:
        if not database.is_sqlite:  # a transaction of SQLite is alone by itself
            connection.execute(text("SET LOCAL lock_timeout = '60s'; SET LOCAL statement_timeout = 0"))
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        before = _version(connection)
        version.refuse_newer(before, database.name)
        if before != version.LATEST:
            _migrate(connection)
            logger.info("The database %s has version %s now (before: %s)", database.name, version.LATEST, before)
        create_engine_tables(connection)


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table(version.TABLE):
        return None
    found: str | None = connection.execute(text(f"SELECT version_num FROM {version.TABLE}")).scalar()  # noqa: S608
    return found


def _migrate(connection: Connection) -> None:
    # Imported where there is something to do, because that takes longer than everything else here.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    command.upgrade(config, version.LATEST)
