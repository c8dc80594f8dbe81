"""Bulk writes: statements that add many rows, or write some columns of them."""

# ruff: noqa: S608 (only names of ours are put into statements)

from collections.abc import Mapping

from extension_kit.protocol import BulkStatement


def bulk_add(table: str, columns: Mapping[str, str], then: str = "") -> BulkStatement:
    """Make a statement that adds rows, in the order given.

    Args:
        table: its name.
        columns: the names of the columns, with their types in PostgreSQL.
        then: end of the statement, after the rows: ``RETURNING ...``; may be empty.
    """
    names = ", ".join(columns)
    return BulkStatement(f"INSERT INTO {table} ({names}) SELECT {names} FROM {{given}} {then}", columns)


def bulk_update(table: str, columns: Mapping[str, str]) -> BulkStatement:
    """Make a statement that writes columns of the rows with given refs.

    SQLite writes all indexes of these columns, also where a value stays: leave out columns that seldom change.

    Args:
        table: its name.
        columns: the names of the columns, with their types in PostgreSQL. Rows of values begin with the ref.
    """
    changes = ", ".join(f"{name} = given.{name}" for name in columns)
    return BulkStatement(
        f"UPDATE {table} SET {changes} FROM {{given}} WHERE {table}.ref = given.ref", {"ref": "bigint", **columns}
    )
