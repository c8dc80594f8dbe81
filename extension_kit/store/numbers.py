"""Numbers of new rows, known before the rows are inserted."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table

_LAST = "(SELECT seq FROM sqlite_sequence WHERE name = ?)"
# The sequence is looked up once, not for each number.
_TAKEN = (
    "(WITH sequence AS MATERIALIZED (SELECT pg_get_serial_sequence(%s, 'id')::regclass AS name)"
    " SELECT ARRAY(SELECT nextval(name) FROM generate_series(1, %s)) FROM sequence)"
)


def new_numbers(connection: Connection, wanted: Mapping[Table, int]) -> list[Sequence[int]]:
    """Return numbers for new rows of tables, ascending for each: those that the database would give them.

    Args:
        connection: of a writing transaction, which inserts the rows. On SQLite a number that it does not use is given
            again.
        wanted: the number of rows by table. Primary keys are the column ``id``; with ``sqlite_autoincrement``.
    """
    driver: Any = connection.connection.driver_connection
    if connection.dialect.name == "sqlite":
        row = driver.execute(_selected(_LAST, wanted), [table.name for table in wanted]).fetchone()
        first = [1 + (last or 0) for last in row]
        return [range(start, start + number) for start, number in zip(first, wanted.values(), strict=True)]
    values = [value for table, number in wanted.items() for value in (table.name, number)]
    return list(driver.execute(_selected(_TAKEN, wanted), values).fetchone())


def _selected(column: str, wanted: Mapping[Table, int]) -> str:
    return f"SELECT {', '.join([column] * len(wanted))}"
