"""Command ``db``: the tables upgraded, their state printed, all rows copied to another database."""

from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING

import click

from extension_kit.cli.database_group import DatabaseGroup, database_url, examples
from extension_kit.errors import ConfigurationError, StoreError

if TYPE_CHECKING:
    from extension_kit.store.extension_tables import Tables


@click.group(cls=DatabaseGroup)
def db() -> None:
    """Create, upgrade, inspect and copy the database of durable listeners.

    It is that of EXTENSION_DATABASE_URL: a SQLite file (extension.db in the working directory), or PostgreSQL.
    """


@db.command("upgrade")
@click.argument("targets", nargs=-1, metavar="[FILE_OR_MODULE]...")
def upgrade(targets: tuple[str, ...]) -> None:
    """Create or upgrade the tables. With SQLite, `serve` does this itself.

    Extensions with their own tables, such as extensions/croneye, must be named.
    """
    from extension_kit.cli.database import opened
    from extension_kit.deliveries.inbox import Inbox
    from extension_kit.store import version
    from extension_kit.store.migrate import extensions_in, upgrade

    url = database_url()
    tables = _tables(targets)
    names = {own.name for own in tables}
    with opened(url) as database:
        migrated = upgrade(database, tables)
        with closing(Inbox(database)) as inbox:
            inbox.prepare()
        with database.read() as connection:
            left_out = extensions_in(connection) - names
    for whose, before, after in migrated:
        done = "Made" if before is None else "Upgraded"
        versions = f"version {after}" if before is None else f"version {before} to {after}"
        click.echo(f"{done} the tables of {whose or 'the kit'}: {versions}.")
    click.echo(f"The database {database.name} has version {version.LATEST}, which is the latest.")
    if as_before := names.difference(whose for whose, *_ in migrated if whose):
        click.echo(f"The tables of {', '.join(sorted(as_before))} are up to date.")
    if left_out:
        click.echo(f"The tables of {', '.join(sorted(left_out))} were left as they are: name their extensions, too.")


@db.command("status")
def status() -> None:
    """Print version, size and row counts of the database. The exit code is 1 if it cannot be used."""
    from sqlalchemy import func, select

    from extension_kit.cli.database import existing
    from extension_kit.deliveries.inbox import Inbox
    from extension_kit.deliveries.tables import DEAD, WAITING, deliveries, metadata
    from extension_kit.store import version
    from extension_kit.store.copying import row_counts
    from extension_kit.store.size import allocated_bytes

    with existing(database_url()) as database:
        database.check_writable()
        with closing(Inbox(database)) as inbox:
            unfiled = inbox.unfiled().events  # first: an event that is filed meanwhile is in both, and not in neither
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
                "unfiled": unfiled,
            }
    width = max(map(len, lines))
    for name, value in lines.items():
        click.echo(f"{name:<{width}} {value}")


@db.command("copy", epilog=examples("db copy sqlite:///extension.db postgresql://user@host/extension"))
@click.argument("from_url")
@click.argument("to_url")
@click.argument("targets", nargs=-1, metavar="[FILE_OR_MODULE]...")
def copy(from_url: str, to_url: str, targets: tuple[str, ...]) -> None:
    """Copy everything to an empty database.

    Use it to move an extension from SQLite to PostgreSQL, or back. Stop the extension first: events received meanwhile
    are not copied. Extensions with their own tables, such as extensions/croneye, must be named. Passwords may be left
    out of the URLs and given as PGPASSWORD, because everybody on a machine can read its command lines.
    """
    from extension_kit.cli.database import is_missing, opened
    from extension_kit.cli.progress import progress
    from extension_kit.deliveries.inbox import Inbox
    from extension_kit.deliveries.inbox_copy import file_in, unfiled_events
    from extension_kit.deliveries.requeue import requeue
    from extension_kit.deliveries.tables import metadata
    from extension_kit.store.copying import copy_rows, row_counts
    from extension_kit.store.migrate import extensions_in, upgrade

    tables = _tables(targets)
    metadatas = [metadata, *(own.metadata for own in tables)]
    with opened(from_url) as source, opened(to_url) as target:
        if source.url == target.url:
            raise ConfigurationError(f"{source.name} cannot be copied to itself: name another database")
        if is_missing(source):
            raise StoreError(f"There is no database {source.path} to copy")
        upgrade(source, tables, only_check=True)
        with source.read() as reading:
            if left_out := extensions_in(reading) - {own.name for own in tables}:
                names = ", ".join(sorted(left_out))
                raise ConfigurationError(f"{source.name} has tables of {names}: name their extensions behind the URLs")
        upgrade(target, tables)
        with unfiled_events(source) as unfiled:  # first: what is filed meanwhile is in both, and known
            with closing(Inbox(target)) as inbox, source.read() as reading, target.transaction() as writing:
                rows = sum(count for each in metadatas for count in row_counts(writing, each).values())
                if rows or inbox.unfiled().events:
                    raise StoreError(f"The database {target.name} is not empty: name another one")
                rows = sum(count for each in metadatas for count in row_counts(reading, each).values())
                with progress("rows", rows) as advance:
                    for each in metadatas:
                        copy_rows(reading, writing, each, advance)
                waiting = requeue(writing, from_elsewhere=True)
            filed = file_in(target, unfiled)
    click.echo(f"Copied {rows} rows to {target.name}, where {waiting} deliveries wait now.")
    if filed:
        click.echo(f"Filed {filed} events that had not been filed yet.")
    click.echo("Set EXTENSION_DATABASE_URL to it before you start the extension again.")


def _tables(targets: Sequence[str]) -> "list[Tables]":
    """Return the tables of the extensions in handler files, folders or modules."""
    from extension_kit.loading import load_extensions

    found = (protocol.tables for extension in load_extensions(targets) for protocol in extension.protocols)
    return [tables for tables in found if tables is not None]
