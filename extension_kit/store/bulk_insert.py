"""Bulk inserts: add many rows to a table with as few statements as each store allows."""

# ruff: noqa: S608 (only names of ours are put into statements)

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from sqlalchemy import Connection

Row = tuple[Any, ...]

_MOST = 64  # rows in one statement; each number of rows is a prepared statement of its own
_MOST_BYTES = 256 * 1024  # of values, in a statement of several rows: a prepared statement keeps its last values


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
    """

    def __init__(
        self,
        table: str,
        columns: Mapping[str, str],
        then: str,
        *,
        order: Sequence[str] = (),
        same: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        names = ", ".join(f'"{name}"' for name in (*columns, *same))
        self._bytes = next((place for place, kind in enumerate(columns.values()) if kind == "bytea"), None)
        row = f"({', '.join((*('?' for _ in columns), *same.values()))})"
        self._by_size = [
            f"INSERT INTO {table} ({names}) VALUES {', '.join([row] * size)} {then}" for size in range(_MOST + 1)
        ]
        # Bytes go as binary: as text they would take twice the room.
        lists = ", ".join(f"{'%b' if kind == 'bytea' else '%s'}::{kind}[]" for kind in columns.values())
        values = ", ".join(("*", *same.values()))
        rows = f"SELECT {values} FROM unnest({lists})"
        if order:
            ref = f"nextval(pg_get_serial_sequence('{table}', 'ref'))"
            numbered = f"(SELECT {ref}, {values} FROM unnest({lists})) AS numbered (ref, {names})"
            names, rows = f"ref, {names}", f"SELECT * FROM {numbered} ORDER BY {', '.join(order)}"
        self._for_all = f"INSERT INTO {table} ({names}) {rows} {then}"

    def add(self, connection: Connection, rows: Sequence[Row]) -> list[Row]:
        """Add rows, at least one, and return the statement's ``RETURNING`` rows: one for each row added or changed."""
        driver: Any = connection.connection.driver_connection
        if connection.dialect.name == "sqlite":
            returned: list[Row] = []
            size = 1 if self._is_large(rows) else _MOST
            for start in range(0, len(rows), size):
                portion = rows[start : start + size]
                values = [value for row in portion for value in row]
                returned += driver.execute(self._by_size[len(portion)], values).fetchall()
            return returned
        columns = [list(column) for column in zip(*rows, strict=True)]
        cursor = driver.execute(self._for_all, columns)
        return list(cursor) if cursor.description else []

    def _is_large(self, rows: Sequence[Row]) -> bool:
        place = self._bytes
        return place is not None and sum(len(row[place]) for row in rows) > _MOST_BYTES
