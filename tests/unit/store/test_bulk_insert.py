"""What is added in bulk is what was given, in its order, on both stores and however much it is."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from sqlalchemy import text

from extension_kit.store.bulk_insert import BulkInsert, NumberedInsert
from extension_kit.store.database import Database
from extension_kit.store.types import driver_time

COLUMNS = {"name": "text", "size": "bigint", "at": "timestamptz", "body": "bytea"}
ROWS = BulkInsert("odd", COLUMNS, same={"kind": "'same'"}, shared={"day": "text", "hour": "integer"})
NUMBERED = NumberedInsert("odd", {"name": "text"}, "ON CONFLICT (name) DO NOTHING", order=("name",))

TEXTS = [
    "",
    "plain",
    "NULL",
    "null",
    "{}",
    "{a,b}",
    '"',
    "'",
    "\\",
    "\\n",
    "\n",
    "\t",
    "a,b",
    " blank ",
    "\x7f",
    "%s",
    "?1",
    "ä",
    "\U0001f600",
    "[]",
    '["a"]',
    "\u2028",
    "x" * 300,
]


@pytest.fixture
def odd(database: Database) -> Iterator[Database]:
    """A database with a table of many types."""
    if database.is_sqlite:
        kinds = ("integer PRIMARY KEY AUTOINCREMENT", "text", "blob")
    else:
        kinds = ("serial PRIMARY KEY", "timestamptz", "bytea")
    with database.transaction() as connection:
        connection.execute(
            text(
                f"CREATE TABLE odd (ref {kinds[0]}, name text UNIQUE, size bigint, at {kinds[1]}, body {kinds[2]},"
                " day text, hour integer, kind text)"
            )
        )
    yield database
    with database.transaction() as connection:
        connection.execute(text("DROP TABLE odd"))


def rows(database: Database, columns: str) -> list[tuple[object, ...]]:
    with database.read() as connection:
        return [tuple(row) for row in connection.execute(text(f"SELECT {columns} FROM odd ORDER BY ref"))]


def add(database: Database, given: list[tuple[object, ...]]) -> None:
    with database.transaction() as connection:
        ROWS.add(connection, given, ("monday", 7))


def test_texts_are_what_they_were(odd: Database) -> None:
    add(odd, [(name, None, None, None) for name in TEXTS])

    assert rows(odd, "name") == [(name,) for name in TEXTS]


@pytest.mark.parametrize("name", TEXTS)
def test_each_text_by_itself(odd: Database, name: str) -> None:
    add(odd, [(name, None, None, None)])

    assert rows(odd, "name") == [(name,)]


def test_values_of_other_types_and_none(odd: Database) -> None:
    now = datetime(2026, 11, 30, 1, 2, 3, 45, UTC)
    at = driver_time(now, is_sqlite=odd.is_sqlite)
    bodies = [b"", b"\x00\xff", b"{}", None, b"\\x00"]
    add(odd, [(str(n), (-1) ** n * 2**40 if n else None, at if n else None, body) for n, body in enumerate(bodies)])

    assert rows(odd, "size") == [(None,), (-(2**40),), (2**40,), (-(2**40),), (2**40,)]
    assert rows(odd, "body") == [(body,) for body in bodies]
    assert rows(odd, "at") == [(None,)] + [(at,)] * 4
    assert set(rows(odd, "day, hour, kind")) == {("monday", 7, "same")}


@pytest.mark.parametrize("size", [1, 300_000])
def test_rows_for_more_than_one_statement(odd: Database, size: int) -> None:
    number = 150 if size == 1 else 3
    add(odd, [(str(n), n, None, bytes([n]) * size) for n in range(number)])

    assert rows(odd, "size") == [(n,) for n in range(number)]
    assert rows(odd, "length(body)") == [(size,)] * number


def number(database: Database, *names: str) -> list[str | None]:
    """Add names, and return those of the rows with the refs that are returned."""
    with database.transaction() as connection:
        refs = NUMBERED.add_numbered(connection, [(name,) for name in names])
        assert refs == sorted(refs)
        found = {row.ref: row.name for row in connection.execute(text("SELECT ref, name FROM odd"))}
    return [found[ref] for ref in refs]


def test_the_numbers_of_rows_follow_the_order_given(odd: Database) -> None:
    assert number(odd, *"cab") == list("cab")
    assert number(odd, *"fde") == list("fde")


def test_rows_that_were_there_have_no_numbers(odd: Database) -> None:
    number(odd, *"cb")

    assert number(odd, *"dcbax") == list("dax")
    assert number(odd, *"cb") == []
    assert number(odd, *"z") == ["z"]


def test_numbers_of_rows_for_more_than_one_statement(odd: Database) -> None:
    known = [f"n{n}" for n in range(0, 200, 3)]
    number(odd, *known)
    names = [f"n{n}" for n in reversed(range(200))]

    assert number(odd, *names) == [name for name in names if name not in known]
