"""Bulk statements: one statement for many rows of values, on both stores."""

# ruff: noqa: S608 (only names of ours are put into statements)

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from sqlalchemy import Connection

Row = tuple[Any, ...]


class BulkStatement:
    """A statement with a table of values, which are its only variable.

    The values go to the driver as JSON, past SQLAlchemy. The statement does not depend on the number of rows, so it is
    prepared once, and one text is much faster to write than PostgreSQL's lists.

    Args:
        statement: the text, with ``{given}`` where the table stands in a FROM clause; its name is ``given``.
        columns: the names of the table's columns, with their types in PostgreSQL. Times are given as ``driver_time``
            encodes them.
        postgresql: the text for PostgreSQL, where it differs; empty: the same as for SQLite.
    """

    def __init__(self, statement: str, columns: Mapping[str, str], *, postgresql: str = "") -> None:
        fields = ", ".join(f"json_extract(value, '$[{place}]') AS {name}" for place, name in enumerate(columns))
        types = ", ".join(f"{name} {kind}" for name, kind in columns.items())
        self._columns = list(columns)
        self._for_sqlite = statement.format(given=f"(SELECT {fields} FROM json_each(?)) AS given")
        self._for_postgresql = (postgresql or statement).format(given=f"json_to_recordset(%s::json) AS given ({types})")

    def execute(self, connection: Connection, rows: Sequence[Row]) -> list[Row]:
        """Execute the statement with rows of values, at least one, and return its own rows, if it has any."""
        driver: Any = connection.connection.driver_connection
        if connection.dialect.name == "sqlite":
            found: list[Row] = driver.execute(self._for_sqlite, [orjson.dumps(rows).decode()]).fetchall()
            return found
        given = orjson.dumps([dict(zip(self._columns, row, strict=True)) for row in rows]).decode()
        cursor = driver.execute(self._for_postgresql, [given])
        return cursor.fetchall() if cursor.description else []
