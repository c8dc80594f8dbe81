"""Adds many rows to a table in one go, as cheaply as each store can do it."""

# ruff: noqa: S608 (only names of ours are put into statements)

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

Row = tuple[Any, ...]

_MOST = 64  # rows in one statement, so that not too many different ones are kept prepared
_MOST_BYTES = 256 * 1024  # of values, in a statement of several rows: one that is kept prepared keeps its values, too


class Bulk:
    """An INSERT for any number of rows, which are added in the order given.

    Statements go to the driver, past SQLAlchemy, because this is on the way of every event. PostgreSQL gets one for all
    rows, with a list for each column: it is the same for any number of rows, so it is prepared once. SQLite gets as few
    as can be: with each of them this thread lets go of Python's lock, and has to wait until it gets it back from the
    one that receives events.

    Args:
        table: its name.
        columns: their names, with their types in PostgreSQL.
        then: what follows the rows in the statement: ``ON CONFLICT ... RETURNING ...``.
        is_sqlite: for which store.
        order: columns by whose values PostgreSQL adds the rows, so that two transactions with the same ones do not wait
            for each other for ever; the ``ref`` that each row is given follows the order given all the same.
    """

    def __init__(
        self, table: str, columns: Mapping[str, str], then: str, *, is_sqlite: bool, order: Sequence[str] = ()
    ) -> None:
        names = ", ".join(f'"{name}"' for name in columns)
        self._is_sqlite = is_sqlite
        self._bytes = next((place for place, kind in enumerate(columns.values()) if kind == "bytea"), None)
        if is_sqlite:
            row = f"({', '.join('?' for _ in columns)})"
            self._by_size = [
                f"INSERT INTO {table} ({names}) VALUES {', '.join([row] * size)} {then}" for size in range(_MOST + 1)
            ]
            return
        # Bytes go as they are: written down as a text they take twice the room.
        lists = ", ".join(f"{'%b' if kind == 'bytea' else '%s'}::{kind}[]" for kind in columns.values())
        rows = f"SELECT * FROM unnest({lists})"
        if order:
            ref = f"nextval(pg_get_serial_sequence('{table}', 'ref'))"
            numbered = f"(SELECT {ref}, * FROM unnest({lists})) AS numbered (ref, {names})"
            names, rows = f"ref, {names}", f"SELECT * FROM {numbered} ORDER BY {', '.join(order)}"
        self._statement = f"INSERT INTO {table} ({names}) {rows} {then}"

    def add(self, connection: Connection, rows: Sequence[Row]) -> list[Row]:
        """Add rows, at least one, and return what the statement returns for those that were added or changed."""
        driver: Any = connection.connection.driver_connection
        if self._is_sqlite:
            returned: list[Row] = []
            size = 1 if self._is_large(rows) else _MOST
            for start in range(0, len(rows), size):
                portion = rows[start : start + size]
                values = [value for row in portion for value in row]
                returned += driver.execute(self._by_size[len(portion)], values).fetchall()
            return returned
        columns = [list(column) for column in zip(*rows, strict=True)]
        return list(driver.execute(self._statement, columns))

    def _is_large(self, rows: Sequence[Row]) -> bool:
        place = self._bytes
        return place is not None and sum(len(row[place]) for row in rows) > _MOST_BYTES
