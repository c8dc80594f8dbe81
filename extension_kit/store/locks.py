"""Named locks: transactions that lock the same name run one after the other."""

from hashlib import blake2b

from sqlalchemy import Connection, func, select


def lock_name(connection: Connection, name: str) -> None:
    """Lock a name until the end of the transaction.

    On SQLite, a writing transaction holds the only write lock anyway. On PostgreSQL, a hash of 63 bits stands for the
    name, so different names seldom wait for each other.
    """
    if connection.dialect.name != "sqlite":
        number = int.from_bytes(blake2b(name.encode(), digest_size=8).digest()) >> 1
        connection.execute(select(func.pg_advisory_xact_lock(number)))
