"""Size of a database: bytes allocated and bytes in use."""

from sqlalchemy import Connection, MetaData, func, select, text

_ROW_BYTES = 100
"""Approximate bytes PostgreSQL needs for a row beside its values, in the table and in indexes."""


def allocated_bytes(connection: Connection, metadata: MetaData) -> int:
    """Return the bytes a SQLite file or, on PostgreSQL, our tables take on disk, gaps of deleted rows included."""
    if connection.dialect.name == "sqlite":
        asked = text("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size")
        return int(connection.execute(asked).scalar_one())
    sizes = (func.pg_total_relation_size(table.name) for table in metadata.sorted_tables)
    return sum(int(connection.execute(select(size)).scalar_one()) for size in sizes)


def live_bytes(connection: Connection, metadata: MetaData) -> int:
    """Return the bytes in use. PostgreSQL has to read the tables for it."""
    if connection.dialect.name == "sqlite":
        used = "SELECT (page_count - freelist_count) * page_size"
        asked = text(f"{used} FROM pragma_page_count, pragma_freelist_count, pragma_page_size")
        return int(connection.execute(asked).scalar_one())
    connection.execute(text("SET LOCAL statement_timeout = '10min'"))
    total = 0
    for table in metadata.sorted_tables:
        row = sum((func.coalesce(func.pg_column_size(column), 0) for column in table.columns), start=_ROW_BYTES)
        total += int(connection.execute(select(func.coalesce(func.sum(row), 0))).scalar_one())
    return total
