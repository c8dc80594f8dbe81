"""Shards: which process may make a delivery.

On PostgreSQL each shard belongs to one worker at a time. SQLite has one shard: one process makes all deliveries.
"""

from zlib import crc32

NUMBER = 32
"""Number of shards on PostgreSQL, and so the maximum number of workers that share a database."""


def shard_of(lock: str | None, listener: str, event_ref: int, *, is_sqlite: bool) -> int:
    """Return the shard of a delivery, 0 to 31: the same for all deliveries with one lock."""
    if is_sqlite:
        return 0
    return crc32((lock or f"{listener}|{event_ref}").encode()) % NUMBER
