"""Sessions: checks, before a worker starts, that it can keep those that it needs for locks and notifications."""

from sqlalchemy import Row

from extension_kit.errors import StoreError
from extension_kit.store.database import Database

_IDENTITY = """
SELECT pg_postmaster_start_time(), oid, to_regclass('deliveries')::oid FROM pg_database
WHERE datname = current_database()
"""


def check_sessions(database: Database, direct: Database | None) -> None:
    """Check that sessions can be kept. Without a pooler and a direct URL there is nothing to ask.

    Args:
        database: the database in PostgreSQL, already read from.
        direct: the database of ``EXTENSION_DATABASE_DIRECT_URL``; None: it is not set.

    Raises:
        StoreError: a pooler shares sessions between transactions, or the direct URL cannot be used.
    """
    if direct is None:
        _check_kept(database)
        return
    try:
        found = _identity(direct)
        _check_kept(direct)
    except StoreError as error:
        raise StoreError(f"EXTENSION_DATABASE_DIRECT_URL cannot be used: {error}") from error
    finally:
        direct.dispose()
    if found != _identity(database):
        raise StoreError(
            f"EXTENSION_DATABASE_DIRECT_URL names other tables, those of {direct.name}, than EXTENSION_DATABASE_URL, "
            f"which is {database.name}: both must lead to the same server, database and schema"
        )


def _check_kept(database: Database) -> None:
    if database.is_pooled:
        database.open_session().close()


def _identity(database: Database) -> Row[tuple[object, ...]]:
    with database.read() as connection:
        return connection.exec_driver_sql(_IDENTITY).one()
