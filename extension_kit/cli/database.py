"""Databases that commands open: patient with long statements, and refused in words if missing or outdated."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import select

from extension_kit.errors import StoreError
from extension_kit.store import deadline, version
from extension_kit.store.database import Database
from extension_kit.store.migrate import current

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
        if is_missing(database):
            raise StoreError(
                f"There is no database {database.path}: run this in the directory where the extension runs, "
                "or set EXTENSION_DATABASE_URL to its database"
            )
        yield database


@contextmanager
def upgraded(url: str) -> Iterator[Database]:
    """Open a database that exists and has the tables of this release, and close it afterwards.

    Raises:
        SettingError: the URL cannot be used.
        StoreError: the file does not exist, or must be upgraded first, or needs a later release.
    """
    with existing(url) as database:
        version.check(current(database), database.name)
        yield database


def is_missing(database: Database) -> bool:
    """Return True for a SQLite database whose file does not exist."""
    return database.is_sqlite and not database.path.exists()
