"""Database errors, translated to one line that names the problem and the remedy."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import psycopg
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from extension_kit.errors import OlderSchema, StoreError, StoreFull, StoreSilent, StoreUnavailable
from extension_kit.store.postgresql import PoolerUnfit, Silent
from extension_kit.store.sqlite_file import FileLost


class _Problem(NamedTuple):
    """End of the message, after the database's name, and the seconds after which a retry makes sense."""

    text: str
    retry_after: float = 5.0


_BUSY = _Problem("is busy: others have been writing for too long", 1.0)
_FULL = _Problem("cannot grow: the disk is full, or a quota is used up")

_SQLITE = {
    sqlite3.SQLITE_BUSY: _Problem("is locked: another process has been writing for too long", 1.0),
    sqlite3.SQLITE_LOCKED: _BUSY,
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_IOERR: _Problem("cannot be read or written: see that the disk works, and has room"),
    sqlite3.SQLITE_READONLY: _Problem("cannot be written: give this user write access to the file and its directory"),
    sqlite3.SQLITE_PERM: _Problem("cannot be opened: give this user write access to the file and its directory"),
    sqlite3.SQLITE_CANTOPEN: _Problem(
        "cannot be opened: run `extension-kit db upgrade` if it does not exist, "
        "else give this user write access to the file and its directory"
    ),
    sqlite3.SQLITE_CORRUPT: _Problem("is damaged: stop the extension and restore a backup"),
    sqlite3.SQLITE_NOTADB: _Problem("is no SQLite file: name another one, or restore a backup"),
}

# By the beginning of the SQLSTATE (PostgreSQL's documentation, appendix A); the longest match counts.
_POSTGRESQL = {
    "08": _Problem("cannot be reached"),
    "25006": _Problem("is read-only: name the primary server, not a standby"),
    "28": _Problem("refuses the login: check the user and the password"),
    "3D": _Problem("does not exist: create it"),
    "40": _BUSY,
    "42501": _Problem("lacks rights for this user: grant them"),
    "53100": _FULL,
    "53": _Problem("has run out of connections or memory"),
    "55P03": _BUSY,
    "57014": _BUSY,
    "57P": _Problem("is being restarted or shut down", 2.0),
    "58": _Problem("cannot be read or written: see that the server's disk works"),
}
_IN_THE_WAY = ("40", "55P03")
_SAID_CHARACTERS = 300

# PgBouncer's answer with pool_mode=statement to the beginning of a transaction.
_BY_STATEMENTS = re.compile("transaction blocks not allowed|statement pooling mode", re.IGNORECASE)


def translate(error: Exception, database: str) -> StoreError | None:
    """Translate a database error for the user.

    Args:
        error: an error of SQLAlchemy, psycopg or sqlite3.
        database: the database's name, without a password.

    Returns:
        The error to raise instead; None if the cause is a refused statement, such as one that breaks a constraint, and
        not the state of the database.
    """
    if isinstance(error, PoolTimeout):
        return StoreUnavailable(f"The database {database} is busy: all connections of this process are in use", 1.0)
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, sqlite3.Error):
        return _of_sqlite(cause, database)
    if isinstance(cause, psycopg.Error):
        return _of_postgresql(cause, database)
    return None


def waited_for_others(error: Exception) -> bool:
    """Return True if PostgreSQL has answered that other transactions were in the way, such as by a lock."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    return isinstance(cause, psycopg.Error) and (cause.sqlstate or "").startswith(_IN_THE_WAY)


@contextmanager
def refusals(database: str) -> Iterator[None]:
    """Raise the error for a refused statement of the kit that stores events, for example because of a user's trigger.

    Args:
        database: the database's name.

    Raises:
        StoreError: in place of an error of SQLAlchemy, psycopg or sqlite3 for which ``translate`` returns None.
    """
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error, psycopg.Error) as error:
        cause = error.orig if isinstance(error, DBAPIError) and isinstance(error.orig, Exception) else error
        said = _said(cause) if isinstance(cause, psycopg.Error) else str(cause).partition("\n")[0][:_SAID_CHARACTERS]
        raise StoreError(
            f"The database {database} refuses to store an event ({said}): check the changes made to its tables"
        ) from error


def _of_sqlite(error: sqlite3.Error, database: str) -> StoreError | None:
    if isinstance(error, FileLost):
        return StoreUnavailable(f"The database {database} {error}")
    code = (
        getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF
    )  # the other bits are details that we do not need
    if code == sqlite3.SQLITE_ERROR:
        if str(error).startswith(("no such table", "no such column")):
            return _without_tables(database)
        return _with_other_tables(database) if str(error).endswith("already exists") else None
    problem = _SQLITE.get(code)
    return _unavailable(problem, f"The database {database} {problem.text}") if problem else None


def _of_postgresql(error: psycopg.Error, database: str) -> StoreError | None:
    if isinstance(error, Silent):
        return StoreSilent(
            f"The database {database} does not answer ({error}): see that it runs, and the network to it"
        )
    state = error.sqlstate or ""
    said = _said(error)
    if isinstance(error, PoolerUnfit):
        return StoreError(f"The database {database} is behind a connection pooler: {said}")
    if _BY_STATEMENTS.search(said):
        return StoreError(
            f"The database {database} is behind a connection pooler that allows no transactions ({said}): give it "
            "pool_mode=transaction or pool_mode=session, or name the PostgreSQL server itself"
        )
    if not state and isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        state = "08"
    if state in ("42P01", "42703"):
        return _without_tables(database)
    if state == "42P07":
        return _with_other_tables(database)
    problem = next((_POSTGRESQL[state[:size]] for size in (5, 3, 2) if state[:size] in _POSTGRESQL), None)
    if problem is None:
        return None
    return _unavailable(problem, f"The database {database} {problem.text} ({said})")


def _unavailable(problem: _Problem, message: str) -> StoreUnavailable:
    return (StoreFull if problem is _FULL else StoreUnavailable)(message, problem.retry_after)


def _said(error: psycopg.Error) -> str:
    """Return the first line of the server's message, without the statement."""
    return (error.diag.message_primary or str(error)).partition("\n")[0][:_SAID_CHARACTERS]


def _without_tables(database: str) -> StoreError:
    return OlderSchema(f"The database {database} lacks tables")


def _with_other_tables(database: str) -> StoreError:
    return StoreError(
        f"The database {database} has tables of other software with the names of ours: "
        "use a database, or a schema, of its own"
    )
