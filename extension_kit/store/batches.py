"""Batches: long lists cut to the number of parameters that one statement takes, and deletions in small transactions."""

import time
from collections.abc import Callable, Collection, Iterator
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy import ColumnElement, Table, delete, select, tuple_

if TYPE_CHECKING:
    from extension_kit.store.database import Database

T = TypeVar("T")

_BATCH = 500


def batches(values: Collection[T]) -> Iterator[list[T]]:
    """Cut values into lists of at most 500: PostgreSQL takes 65,535 parameters in a statement, SQLite 32,766."""
    rest = iter(values)
    while batch := list(islice(rest, _BATCH)):
        yield batch


def delete_in_batches(database: "Database", table: Table, condition: ColumnElement[bool], *, size: int = 100) -> int:
    """Delete the rows that meet a condition, in small transactions between which others can write.

    Args:
        database: holds the table; ``Kit.database`` for extensions.
        table: the table. It has a primary key.
        condition: selects the rows. A row that another transaction changes meanwhile is checked again.
        size: maximum number of rows of a transaction.

    Returns:
        The number of deleted rows.

    Raises:
        StoreError: the database cannot be used; rows deleted before stay deleted.
    """
    batch = select(*table.primary_key).where(condition).limit(size).correlate(None)
    removal = delete(table).where(tuple_(*table.primary_key).in_(batch), condition)

    def delete_batch() -> int:
        with database.transaction() as connection:
            return connection.execute(removal).rowcount

    return repeat(delete_batch)


def repeat(step: Callable[[], int]) -> int:
    """Repeat a step until it returns 0. Pause after each for as long as it took, so that others can write.

    Returns:
        The sum of the steps' results.
    """
    total = 0
    while True:
        began = time.monotonic()
        if not (done := step()):
            return total
        total += done
        time.sleep(time.monotonic() - began)
