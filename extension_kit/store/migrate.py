"""Migrations: create the tables of a database, or bring them up to date."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Connection, inspect, text

from extension_kit.store import deadline, version
from extension_kit.store.database import Database
from extension_kit.store.extension_tables import Tables

logger = logging.getLogger("extension_kit.store")

_MIGRATIONS = Path(__file__).with_name("migrations")
_LONGEST = 86400.0  # seconds for a statement that changes a table; the server sets no limit either
_LOCK = 0x657874656E73696F  # PostgreSQL's name for "we are being upgraded": any number that others do not use


class Migrated(NamedTuple):
    """Tables that were made or upgraded.

    Attributes:
        extension: name of the extension that they are of; None: the kit's.
        before: their version before; None: they were made.
        after: their version now.
    """

    extension: str | None
    before: str | None
    after: str


def current(database: Database, version_table: str = version.TABLE) -> str | None:
    """Return the version of the kit's tables, or of an extension's; None without tables.

    Raises:
        StoreError: the database cannot be read.
    """
    with database.read() as connection:
        return _version(connection, version_table)


def upgrade(
    database: Database,
    extensions: Sequence[Tables] = (),
    *,
    only_check: bool = False,
) -> list[Migrated]:
    """Create the tables, or migrate those of an earlier release, in one transaction.

    Any number of processes may call it at the same time; all but one find nothing to do.

    Args:
        database: to migrate; the file of a SQLite database is created.
        extensions: the tables of extensions.
        only_check: True: change nothing, only check the versions.

    Returns:
        The tables that were made or upgraded: the kit's first, if they were, and those of extensions.

    Raises:
        OlderSchema: the database has to be upgraded; with ``only_check`` only.
        NewerSchema: a later release has upgraded it.
        StoreError: the database cannot be used.
    """
    if only_check:
        version.check(current(database), database.name)
        for tables in extensions:
            version.check(current(database, tables.version_table), database.name, tables.latest, tables.name)
        return []
    database.create()
    with deadline.patiently(_LONGEST), database.transaction() as connection:
        if not database.is_sqlite:  # a SQLite transaction excludes other writers anyway
            connection.execute(text("SET LOCAL lock_timeout = '60s'; SET LOCAL statement_timeout = 0"))
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        migrated = [_migrate(connection, database.name, None)]
        migrated += [_migrate(connection, database.name, tables) for tables in extensions]
    return [each for each in migrated if each is not None]


def extensions_in(connection: Connection) -> set[str]:
    """Return the names of the extensions that have tables in a database."""
    prefix = f"{version.TABLE}_"
    return {name.removeprefix(prefix) for name in inspect(connection).get_table_names() if name.startswith(prefix)}


def _version(connection: Connection, version_table: str) -> str | None:
    if not inspect(connection).has_table(version_table):
        return None
    found: str | None = connection.execute(text(f"SELECT version_num FROM {version_table}")).scalar()  # noqa: S608
    return found


def _migrate(connection: Connection, name: str, tables: Tables | None) -> Migrated | None:
    """Migrate the tables of an extension, or the kit's own; return None if they were the latest."""
    version_table = tables.version_table if tables else version.TABLE
    latest = tables.latest if tables else version.LATEST
    versions = tables.versions if tables else _MIGRATIONS / "versions"
    whose = tables.name if tables else None
    before = _version(connection, version_table)
    version.refuse_newer(before, name, latest, whose)
    if before == latest:
        return None
    # Imported only for a migration, because the import takes longer than everything else here.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"connection": connection, "version_table": version_table})
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    config.set_main_option("version_locations", str(versions).replace("%", "%%"))
    command.upgrade(config, latest)
    of = f" of the tables of {whose}" if whose else ""
    if before is None:
        logger.info("Tables made in database %s: version %s%s", name, latest, of)
    else:
        logger.info("Database %s upgraded to version %s%s (before: %s)", name, latest, of, before)
    return Migrated(whose, before, latest)
