"""Bulk inserts: add many rows to a table with as few statements as each store allows."""

# ruff: noqa: S608 (only names of ours are put into statements)

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from types import MappingProxyType
from typing import Any

from sqlalchemy import Connection

from extension_kit.store.postgresql_arrays import array

Row = tuple[Any, ...]

_MOST = 64  # rows in one statement; each number of rows is a prepared statement of its own
_MOST_BYTES = 256 * 1024  # of values, in a statement of several rows: a prepared statement keeps its last values
_NO_COLUMNS: Mapping[str, str] = MappingProxyType({})


class BulkInsert:
    """An INSERT for any number of rows, added in the order given.

    Statements go to the driver, past SQLAlchemy, because every event takes this path. PostgreSQL gets one statement for
    all rows, with a list for each column: it does not depend on the number of rows, so it is prepared once. SQLite gets
    as few statements as possible: each of them releases Python's lock, and the thread waits to get it back from the
    thread that receives events.

    Args:
        table: its name.
        columns: their names, with their types in PostgreSQL.
        then: end of the statement, after the rows: ``ON CONFLICT ... RETURNING ...``; may be empty.
        order: columns that PostgreSQL sorts the rows by before adding them, so that two transactions with the same rows
            cannot deadlock; the ``ref`` of each row follows the order given all the same.
        same: columns that have the same value in all rows, beside ``columns``, with the value as SQL.
        shared: columns that have the same value in all rows of one call, beside ``columns``, with their types in
            PostgreSQL.
    """

    def __init__(
        self,
        table: str,
        columns: Mapping[str, str],
        then: str = "",
        *,
        order: Sequence[str] = (),
        same: Mapping[str, str] = _NO_COLUMNS,
        shared: Mapping[str, str] = _NO_COLUMNS,
    ) -> None:
        # Shared ones first: on SQLite a plain "?" takes the number after the largest before it.
        names = ", ".join(f'"{name}"' for name in (*shared, *columns, *same))
        self._kinds = list(columns.values())
        self._bytes = next((place for place, kind in enumerate(self._kinds) if kind == "bytea"), None)
        numbers = (f"?{number}" for number, _ in enumerate(shared, 1))
        row = f"({', '.join((*numbers, *('?' for _ in columns), *same.values()))})"
        self._by_size = [
            f"INSERT INTO {table} ({names}) VALUES {', '.join([row] * size)} {then}" for size in range(_MOST + 1)
        ]
        # Bytes go as binary: as text they would take twice the room.
        lists = ", ".join(f"{'%b' if kind == 'bytea' else '%s'}::{kind}[]" for kind in self._kinds)
        values = ", ".join((*(f"%s::{kind}" for kind in shared.values()), "given.*", *same.values()))
        rows = f"SELECT {values} FROM unnest({lists}) AS given"
        if order:
            ref = f"nextval(pg_get_serial_sequence('{table}', 'ref'))"
            numbered = f"(SELECT {ref}, {values} FROM unnest({lists}) AS given) AS numbered (ref, {names})"
            names, rows = f"ref, {names}", f"SELECT * FROM {numbered} ORDER BY {', '.join(order)}"
        self._for_all = f"INSERT INTO {table} ({names}) {rows} {then}"

    def add(self, connection: Connection, rows: Sequence[Row], shared: Row = ()) -> list[Row]:
        """Add rows, at least one, and return the statement's ``RETURNING`` rows: one for each row added or changed."""
        driver: Any = connection.connection.driver_connection
        if connection.dialect.name == "sqlite":
            return [row for cursor, _ in self._on_sqlite(driver, rows, shared) for row in cursor.fetchall()]
        cursor = driver.execute(self._for_all, self._lists(rows, shared))
        return cursor.fetchall() if cursor.description else []

    def _on_sqlite(self, driver: Any, rows: Sequence[Row], shared: Row) -> Iterator[tuple[Any, int]]:
        """Add portions of the rows, and yield the cursor and the number of rows of each."""
        size = 1 if self._is_large(rows) else _MOST
        for start in range(0, len(rows), size):
            portion = rows[start : start + size]
            values = [*shared, *chain.from_iterable(portion)]
            yield driver.execute(self._by_size[len(portion)], values), len(portion)

    def _lists(self, rows: Sequence[Row], shared: Row) -> list[Any]:
        return [*shared, *map(array, self._kinds, zip(*rows, strict=True))]

    def _is_large(self, rows: Sequence[Row]) -> bool:
        place = self._bytes
        return place is not None and sum([len(row[place] or b"") for row in rows]) > _MOST_BYTES


class NumberedInsert(BulkInsert):
    """A bulk insert into a table whose rows have a ``ref`` from the database, such as events.

    SQLite says it without a row for each: fetching one releases Python's lock.

    Args:
        table: its name.
        columns: as in ``BulkInsert``.
        then: ``ON CONFLICT ... DO NOTHING``, or empty.
        options: those of ``BulkInsert``.
    """

    def __init__(self, table: str, columns: Mapping[str, str], then: str = "", **options: Any) -> None:
        super().__init__(table, columns, then, **options)
        self._for_all += " RETURNING ref"
        self._newest = f"SELECT ref FROM {table} ORDER BY ref DESC LIMIT ?"

    def add_numbered(self, connection: Connection, rows: Sequence[Row], shared: Row = ()) -> list[int]:
        """Add rows, at least one, and return the refs of those that were added, in the order given."""
        driver: Any = connection.connection.driver_connection
        if connection.dialect.name != "sqlite":
            return sorted(ref for (ref,) in driver.execute(self._for_all, self._lists(rows, shared)))
        refs: list[int] = []
        for cursor, size in self._on_sqlite(driver, rows, shared):
            added, last = cursor.rowcount, cursor.lastrowid
            if added == size:
                refs += range(last - added + 1, last + 1)
            elif added:  # some were there: there may be gaps
                refs += sorted(ref for (ref,) in driver.execute(self._newest, (added,)))
        return refs
