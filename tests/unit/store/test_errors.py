"""Every complaint of a database becomes one line which says what to do, or is left as it is."""

import sqlite3

import psycopg
import pytest
from psycopg.errors import lookup
from sqlalchemy.exc import OperationalError, ProgrammingError

from extension_kit.errors import OlderSchema, StoreError, StoreUnavailable
from extension_kit.store.errors import translate


def sqlite_error(name: str, message: str = "as SQLite says it") -> sqlite3.Error:
    error = sqlite3.OperationalError(message)
    error.sqlite_errorcode = getattr(sqlite3, name)
    error.sqlite_errorname = name
    return error


@pytest.mark.parametrize(
    ("name", "beginning"),
    [
        ("SQLITE_BUSY", "is locked: another process"),
        ("SQLITE_BUSY_SNAPSHOT", "is locked: another process"),
        ("SQLITE_LOCKED", "is busy: others"),
        ("SQLITE_FULL", "cannot grow: the disk is full"),
        ("SQLITE_IOERR_WRITE", "cannot be read or written: see that the disk works"),
        ("SQLITE_READONLY_DBMOVED", "cannot be written: give this user write access"),
        ("SQLITE_PERM", "cannot be opened: give this user write access"),
        ("SQLITE_CANTOPEN", "cannot be opened: run `extension-kit db upgrade`"),
        ("SQLITE_CORRUPT", "is damaged: stop the extension and restore a backup"),
        ("SQLITE_NOTADB", "is no SQLite file"),
    ],
)
def test_sqlite(name: str, beginning: str) -> None:
    error = translate(OperationalError("SELECT 'secret'", None, sqlite_error(name)), "x.db")

    assert isinstance(error, StoreUnavailable)
    assert str(error).startswith(f"The database x.db {beginning}")
    assert "secret" not in str(error)
    assert error.retry_after > 0


@pytest.mark.parametrize(
    ("state", "beginning"),
    [
        ("08006", "cannot be reached"),
        ("25006", "is read-only: name the primary"),
        ("28P01", "refuses the login: check the user and the password"),
        ("3D000", "does not exist: create it"),
        ("40001", "is busy"),
        ("40P01", "is busy"),
        ("42501", "lacks rights for this user"),
        ("53100", "cannot grow: the disk is full"),
        ("53300", "has run out of connections"),
        ("55P03", "is busy"),
        ("57014", "is busy"),
        ("57P01", "is being restarted or shut down"),
        ("57P03", "is being restarted or shut down"),
        ("58030", "cannot be read or written"),
    ],
)
def test_postgresql(state: str, beginning: str) -> None:
    cause = lookup(state)("as PostgreSQL says it\nLINE 1: SELECT 'secret'")

    error = translate(OperationalError("SELECT 'secret'", None, cause), "postgresql://h/d")

    assert isinstance(error, StoreUnavailable)
    assert str(error).startswith(f"The database postgresql://h/d {beginning}")
    assert str(error).endswith(" (as PostgreSQL says it)")
    assert error.retry_after > 0


def test_what_drivers_raise_is_understood_without_sqlalchemy_too() -> None:
    assert isinstance(translate(sqlite_error("SQLITE_BUSY"), "x.db"), StoreUnavailable)
    assert isinstance(translate(psycopg.OperationalError("connection failed"), "h"), StoreUnavailable)
    assert isinstance(translate(psycopg.InterfaceError("the connection is closed"), "h"), StoreUnavailable)


def test_a_long_complaint_is_cut() -> None:
    error = translate(psycopg.OperationalError("x" * 10_000), "postgresql://h/d")

    assert len(str(error)) < 400


@pytest.mark.parametrize(
    "cause",
    [
        sqlite_error("SQLITE_ERROR", "no such table: events"),
        sqlite_error("SQLITE_ERROR", "no such column: earlier"),
        lookup("42P01")("no events"),
        lookup("42703")("no column"),
    ],
)
def test_missing_tables(cause: Exception) -> None:
    error = translate(ProgrammingError("SELECT 1", None, cause), "x.db")

    assert isinstance(error, OlderSchema)
    assert str(error) == "The database x.db lacks tables: run `extension-kit db upgrade`"


@pytest.mark.parametrize(
    "cause", [sqlite_error("SQLITE_ERROR", "table events already exists"), lookup("42P07")("there are events")]
)
def test_tables_of_others(cause: Exception) -> None:
    error = translate(ProgrammingError("CREATE TABLE events ()", None, cause), "x.db")

    assert type(error) is StoreError
    assert "tables of other software" in str(error)


@pytest.mark.parametrize(
    "cause",
    [
        sqlite_error("SQLITE_ERROR", 'near "SELEKT": syntax error'),
        sqlite_error("SQLITE_CONSTRAINT_UNIQUE"),
        sqlite3.ProgrammingError("Cannot operate on a closed database."),
        lookup("23505")("duplicate"),
        lookup("42601")("syntax"),
        psycopg.ProgrammingError("cannot adapt type"),
        ValueError("something else"),
    ],
)
def test_mistakes_in_a_program_are_left_as_they_are(cause: Exception) -> None:
    assert translate(cause, "x.db") is None
    assert translate(ProgrammingError("SELECT 1", None, cause), "x.db") is None
