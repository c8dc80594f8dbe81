"""Batches: long lists cut to the number of parameters that one statement takes."""

from collections.abc import Collection, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")

_BATCH = 500


def batches(values: Collection[T]) -> Iterator[list[T]]:
    """Cut values into lists of at most 500: PostgreSQL takes 65,535 parameters in a statement, SQLite 32,766."""
    rest = iter(values)
    while batch := list(islice(rest, _BATCH)):
        yield batch
