"""Owner: the contract of the two ways by which a worker owns shards."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Protocol

from sqlalchemy import Connection


class Owner(Protocol):
    """The shards of a worker."""

    @property
    def poll(self) -> float:
        """Seconds between two calls of ``has_news``."""

    @property
    def shards(self) -> list[int]:
        """The shards from which deliveries may be claimed."""

    def has_news(self) -> bool:
        """Return True if others may have changed the database since the last call; also within a transaction."""

    def expect_more(self) -> None:
        """Note that deliveries were claimed: more may come soon."""

    def look(self, busy: Collection[int]) -> list[int]:
        """Take free shards, and give up some if other workers have too few.

        Args:
            busy: the shards of deliveries that the worker holds; these are not given up.

        Returns:
            The shards that were taken. Another worker may have left claims in them.

        Raises:
            StoreError: the database cannot be used.
        """

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Read and write in a transaction that fails if the shards are not owned any more.

        Raises:
            StoreError: the database cannot be used; perhaps the transaction was committed all the same.
        """

    def close(self) -> None:
        """Give all shards up."""
