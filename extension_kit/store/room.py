"""Whether the disk of a SQLite file has room, while there is still enough of it to clean up: that takes some, too."""

import os
from pathlib import Path

from sqlalchemy import Connection

from extension_kit.errors import StoreFull

_PLENTY = 256 * 1024**2
"""Bytes from which it is not looked closer; much more than the write-ahead log takes."""

_LEAST, _MOST, _SHARE = 1024**2, 64 * 1024**2, 1 / 10
"""What has to be left, for cleaning up and for attempts of what waits: a share of the disk, within two limits."""


def check_room(connection: Connection, path: Path, database: str, more: int, share: float) -> None:
    """See whether more may be added to a SQLite file.

    What is committed is in the write-ahead log first; the file grows by it later, and before the log can shrink.

    Args:
        connection: in a transaction.
        path: the file.
        database: its name.
        more: bytes that are to be added.
        share: of what has to be left; a larger one for who looks ahead.

    Raises:
        StoreFull: it may not.
    """
    disk = os.statvfs(path.parent)
    free = disk.f_bavail * disk.f_frsize
    if free > _PLENTY:
        return
    pages, page_size = (
        connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in ("page_count", "page_size")
    )
    to_grow = max(pages * page_size - path.stat().st_size, 0)
    if free < to_grow + more + share * min(max(disk.f_blocks * disk.f_frsize * _SHARE, _LEAST), _MOST):
        raise StoreFull(
            f"The database {database} cannot grow: its disk is almost full, and what is left is for cleaning up. "
            "Free some of it, or lower EXTENSION_RETENTION_MEGABYTES"
        )
