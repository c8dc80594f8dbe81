"""Inserts of rows that may be there already: ignored, or turned into an update, the same on both stores."""

from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from typing import Any, cast

from sqlalchemy import Column, Connection, CursorResult, Executable, Table
from sqlalchemy.dialects import postgresql, sqlite

Values = Mapping[str, Any]


def insert_or_ignore(
    connection: Connection, table: Table, values: Values, *, returning: Iterable[Column[Any]] = ()
) -> CursorResult[Any]:
    """Insert a row, unless a row with the same primary key or unique columns is there.

    Args:
        connection: of a transaction.
        table: the table.
        values: by column name.
        returning: columns to return of the inserted row; the result has no row if nothing was inserted.
    """
    return connection.execute(_insert_or_ignore(connection.dialect.name, table, tuple(returning)), dict(values))


def upsert(
    connection: Connection,
    table: Table,
    values: Values,
    *,
    update: Collection[str],
    expressions: Values | None = None,
    returning: Iterable[Column[Any]] = (),
) -> CursorResult[Any]:
    """Insert a row, or update the row with the same primary key, which stays locked until the commit.

    Args:
        connection: of a transaction.
        table: the table. Its primary key is part of the values.
        values: by column name.
        update: names of the columns that an existing row gets from ``values``; other columns stay.
        expressions: SQL expressions for further columns of an existing row, such as ``{"count": table.c.count + 1}``.
            Make them once: the statement is kept with them.
        returning: columns to return of the inserted or updated row.
    """
    changes = tuple((expressions or {}).items())
    statement = _upsert(connection.dialect.name, table, tuple(update), changes, tuple(returning))
    return connection.execute(statement, dict(values))


# Kept: they are executed for every event, and making a statement takes longer than executing it.
@lru_cache(256)
def _insert_or_ignore(dialect: str, table: Table, returning: tuple[Column[Any], ...]) -> Executable:
    insert = (sqlite if dialect == "sqlite" else postgresql).insert(table).on_conflict_do_nothing()
    return cast(Executable, insert.returning(*returning) if returning else insert)


@lru_cache(256)
def _upsert(
    dialect: str,
    table: Table,
    update: tuple[str, ...],
    expressions: tuple[tuple[str, Any], ...],
    returning: tuple[Column[Any], ...],
) -> Executable:
    insert = (sqlite if dialect == "sqlite" else postgresql).insert(table)
    changes = {**{name: insert.excluded[name] for name in update}, **dict(expressions)}
    statement = insert.on_conflict_do_update(index_elements=list(table.primary_key), set_=changes)
    return cast(Executable, statement.returning(*returning) if returning else statement)
