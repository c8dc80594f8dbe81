"""Copying: copies all rows from one database to another."""

from collections.abc import Callable

from sqlalchemy import Connection, MetaData, Table, func, insert, select, text

_BATCH = 100
_SEQUENCE = "SELECT pg_get_serial_sequence(:table, :column)"


def row_counts(connection: Connection, metadata: MetaData) -> dict[str, int]:
    """Return the number of rows by table name."""
    return {
        table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
        for table in metadata.sorted_tables
    }


def copy_rows(
    source: Connection, target: Connection, metadata: MetaData, advance: Callable[[int], None], batch: int = _BATCH
) -> None:
    """Copy the rows of all tables with their refs, and the counters that give the next refs.

    Args:
        source: to read from; has to see one state of its database.
        target: to write to; has the same tables, all empty.
        metadata: the tables.
        advance: called with the number of rows copied since the last call.
        batch: number of rows that are copied at once.
    """
    for table in metadata.sorted_tables:
        rows = source.execution_options(yield_per=batch).execute(select(table))
        for some in rows.partitions():
            target.execute(insert(table), [dict(zip(table.columns.keys(), row, strict=True)) for row in some])
            advance(len(some))
        column = table.autoincrement_column
        if column is not None and (number := _last_number(source, table, column.name)) is not None:
            _set_last_number(target, table, column.name, number)


def _last_number(connection: Connection, table: Table, column: str) -> int | None:
    """Return the highest number ever given to a row, even if that row was removed since; None without any.

    The store's own counter may be missing or behind: a SQLite table without autoincrement has one only if an earlier
    copy left it there.
    """
    highest: int | None = connection.execute(select(func.max(table.c[column]))).scalar()
    given = _last_given(connection, table, column)
    return max((number for number in (highest, given) if number is not None), default=None)


def _last_given(connection: Connection, table: Table, column: str) -> int | None:
    if connection.dialect.name == "sqlite":
        asked = text("SELECT seq FROM sqlite_sequence WHERE name = :table").bindparams(table=table.name)
    else:
        sequence = connection.execute(text(_SEQUENCE), {"table": table.name, "column": column}).scalar_one()
        if sequence is None:
            return None
        asked = text(f"SELECT CASE WHEN is_called THEN last_value END FROM {sequence}")  # noqa: S608
    given: int | None = connection.execute(asked).scalar()
    return given


def _set_last_number(connection: Connection, table: Table, column: str, number: int) -> None:
    values = {"table": table.name, "column": column, "number": number}
    if connection.dialect.name == "sqlite":
        connection.execute(text("DELETE FROM sqlite_sequence WHERE name = :table"), values)
        connection.execute(text("INSERT INTO sqlite_sequence (name, seq) VALUES (:table, :number)"), values)
    else:
        connection.execute(text(f"SELECT setval(({_SEQUENCE}), :number)"), values)
