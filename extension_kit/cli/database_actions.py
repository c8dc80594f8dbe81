"""Actions of ``extension-kit db``: upgrade the tables, print their status, copy them to another database."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import click
from sqlalchemy import func, select

from extension_kit.cli.progress import progress
from extension_kit.deliveries.replay import rebuild
from extension_kit.deliveries.tables import DEAD, WAITING, deliveries, metadata
from extension_kit.engine.app import Engine
from extension_kit.errors import ConfigurationError, StoreError
from extension_kit.loading import load_extensions
from extension_kit.store import deadline, version
from extension_kit.store.copying import copy_rows, row_counts
from extension_kit.store.database import Database
from extension_kit.store.extension_tables import Tables
from extension_kit.store.migrate import extensions_in, upgrade
from extension_kit.store.size import allocated_bytes

_ANSWER = 10.0  # seconds a database server has to answer


@contextmanager
def opened(url: str) -> Iterator[Database]:
    """Open a database without time limits for its statements, and close its connections afterwards.

    Raises:
        SettingError: the URL cannot be used.
        StoreError: the server does not answer.
    """
    database = Database(url)
    try:
        if not database.is_sqlite:
            with deadline.within(_ANSWER), database.read() as connection:
                connection.execute(select(1))
        with deadline.patiently():
            yield database
    finally:
        database.dispose()


@contextmanager
def existing(url: str) -> Iterator[Database]:
    """Open a database that exists, and close it afterwards.

    Raises:
        SettingError: the URL cannot be used.
        StoreError: the file does not exist; most often the command runs in another directory than the extension.
    """
    with opened(url) as database:
        if _is_missing(database):
            raise StoreError(
                f"There is no database {database.path}: run this in the directory where the extension runs, "
                "or set EXTENSION_DATABASE_URL to its database"
            )
        yield database


def upgrade_database(url: str, targets: Sequence[str]) -> None:
    """Create or upgrade the tables, including those of extensions.

    Args:
        url: URL of the database.
        targets: handler files, folders or modules with the extensions.

    Raises:
        ConfigurationError: the URL cannot be used, or a target cannot be loaded.
        StoreError: the database cannot be used.
    """
    tables = _tables(targets)
    with opened(url) as database:
        upgrade(database, Engine(database).create_tables, tables)
    click.echo(f"The database {database.name} has version {version.LATEST}, which is the latest.")


def show_status(url: str) -> None:
    """Print version, size and row counts of a database.

    Raises:
        SettingError: the URL cannot be used.
        StoreError: the database cannot be used, must be upgraded first, or needs a later release.
    """
    with existing(url) as database:
        database.check_writable()
        with database.read() as connection:
            by_status = select(deliveries.c.status, func.count().label("number")).group_by(deliveries.c.status)
            counts = {row.status: row.number for row in connection.execute(by_status)}
            lines: dict[str, object] = {
                "database": database.name,
                "version": f"{version.LATEST} (the latest)",
                "room": f"{allocated_bytes(connection, metadata) / 1e6:.1f} MB",
                **row_counts(connection, metadata),
                "waiting": counts.get(WAITING, 0),
                "dead": counts.get(DEAD, 0),
            }
    for name, value in lines.items():
        click.echo(f"{name:<13} {value}")


def copy_database(from_url: str, to_url: str, targets: Sequence[str]) -> None:
    """Copy all rows to an empty database, and build the queue there; all or nothing.

    Args:
        from_url: URL of the database to copy.
        to_url: URL of the empty database.
        targets: handler files, folders or modules with all extensions that have their own tables in it.

    Raises:
        ConfigurationError: a URL cannot be used, both name the same database, a target cannot be loaded, or the
            database has tables of an extension that is not named.
        StoreError: a database cannot be used, or the second is not empty.
    """
    tables = _tables(targets)
    metadatas = [metadata, *(own.metadata for own in tables)]
    with opened(from_url) as source, opened(to_url) as target:
        if source.url == target.url:
            raise ConfigurationError(f"{source.name} cannot be copied to itself: name another database")
        if _is_missing(source):
            raise StoreError(f"There is no database {source.path} to copy")
        upgrade(source, Engine(source).create_tables, tables, only_check=True)
        with source.read() as reading:
            if left_out := extensions_in(reading) - {own.name for own in tables}:
                names = ", ".join(sorted(left_out))
                raise ConfigurationError(f"{source.name} has tables of {names}: name their extensions behind the URLs")
        engine = Engine(target)
        upgrade(target, engine.create_tables, tables)
        with source.read() as reading, target.transaction() as writing:
            if any(count for each in metadatas for count in row_counts(writing, each).values()):
                raise StoreError(f"The database {target.name} is not empty: name another one")
            rows = sum(count for each in metadatas for count in row_counts(reading, each).values())
            with progress("rows", rows) as advance:
                for each in metadatas:
                    copy_rows(reading, writing, each, advance)
            jobs = rebuild(writing, engine)
    click.echo(f"Copied {rows} rows to {target.name}, where {jobs} deliveries wait now.")
    click.echo("Set EXTENSION_DATABASE_URL to it before you start the extension again.")


def _is_missing(database: Database) -> bool:
    return database.is_sqlite and not database.path.exists()


def _tables(targets: Sequence[str]) -> list[Tables]:
    found = (protocol.tables for extension in load_extensions(targets) for protocol in extension.protocols)
    return [tables for tables in found if tables is not None]
