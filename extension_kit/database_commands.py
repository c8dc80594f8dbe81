"""``extension-kit db``: makes and upgrades the tables, says how they are, copies them to another database."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from sqlalchemy import func, select

from extension_kit.deliveries.models import DEAD, WAITING, deliveries, metadata
from extension_kit.engine.app import Engine
from extension_kit.errors import ConfigurationError, StoreError
from extension_kit.store import version
from extension_kit.store.copying import copy_rows, row_counts
from extension_kit.store.database import Database
from extension_kit.store.migrate import current, upgrade
from extension_kit.store.size import allocated_bytes


def upgrade_database(url: str) -> None:
    """Make the tables, or bring them up to date.

    Raises:
        SettingError: the URL cannot be used.
        StoreError: the database cannot be used.
    """
    database = Database(url)
    upgrade(database, Engine(database).create_tables)
    click.echo(f"The database {database.name} has version {version.LATEST}, which is the latest.")
    database.dispose()


def show_status(url: str) -> None:
    """Write how a database is.

    Raises:
        SettingError: the URL cannot be used.
        StoreError: the database cannot be used, or has to be upgraded first, or needs a later release.
    """
    database = Database(url)
    database.check_writable()
    with database.read() as connection:
        by_status = select(deliveries.c.status, func.count()).group_by(deliveries.c.status)
        counts: dict[str, int] = dict(connection.execute(by_status).tuples().all())
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
    database.dispose()


def copy_database(from_url: str, to_url: str) -> None:
    """Copy all rows to an empty database, and fill the queue there; all or nothing.

    Raises:
        ConfigurationError: a URL cannot be used, or both name the same database.
        StoreError: a database cannot be used, or the second is not empty.
    """
    source, target = Database(from_url), Database(to_url)
    if source.url == target.url:
        raise ConfigurationError(f"{source.name} cannot be copied to itself: name another database")
    version.check(current(source), source.name)
    engine = Engine(target)
    upgrade(target, engine.create_tables)
    with source.read() as reading, target.transaction() as writing:
        if any(row_counts(writing, metadata).values()):
            raise StoreError(f"The database {target.name} is not empty: name another one")
        rows = sum(row_counts(reading, metadata).values())
        with _progress("rows", rows) as advance:
            copy_rows(reading, writing, metadata, advance)
        waiting = select(deliveries.c.ref, deliveries.c.lock, deliveries.c.due_at)
        waiting = waiting.where(deliveries.c.status == WAITING).order_by(deliveries.c.ref)
        jobs = engine.rebuild(writing, (tuple(row) for row in writing.execute(waiting)))
    click.echo(f"Copied {rows} rows to {target.name}, where {jobs} deliveries wait now.")
    click.echo("Set EXTENSION_DATABASE_URL to it before you start the extension again.")
    source.dispose()
    target.dispose()


@contextmanager
def _progress(unit: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show on a terminal how far it is; yields a function that is told how many more are done."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(unit, total=total)
        yield lambda done: bar.update(task, advance=done)
