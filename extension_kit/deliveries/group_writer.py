"""Writer: the contract of a group commit with the part that writes its items."""

from collections.abc import Sequence
from typing import Protocol, TypeVar

Item = TypeVar("Item", contravariant=True)
Result = TypeVar("Result", covariant=True)


class Writer(Protocol[Item, Result]):
    """Commits groups of items to a database."""

    @property
    def database_name(self) -> str:
        """Name of the database in messages."""

    def commit(self, items: Sequence[Item]) -> Sequence[Result]:
        """Commit items in one transaction, and return a result for each.

        Raises:
            StoreError: the database cannot be used; nothing was committed.
        """

    def check_writable(self) -> None:
        """Check that items can be committed.

        Raises:
            StoreError: they cannot.
        """
