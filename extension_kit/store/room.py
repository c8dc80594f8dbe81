"""Disk space check: refuses events early enough that cleaning up, which takes space, is still possible."""

import os
from pathlib import Path

from sqlalchemy import Connection

from extension_kit.errors import StoreFull, StoreUnavailable

_PLENTY = 256 * 1024**2
"""Free bytes above which no further check is made; much more than the write-ahead log takes."""

_LEAST, _MOST, _SHARE = 1024**2, 64 * 1024**2, 1 / 10
"""Bytes reserved for cleaning up and for attempts of waiting deliveries: a share of the disk, within two limits."""


def has_plenty(path: Path) -> bool:
    """Return True if the disk of a file has so much room that ``check_room`` looks no closer; False without a disk."""
    try:
        disk = os.statvfs(path.parent)
    except OSError:
        return False
    return disk.f_bavail * disk.f_frsize > _PLENTY


def check_room(connection: Connection, path: Path, database: str, more: int, share: float) -> None:
    """Check that a SQLite file may grow.

    A commit goes to the write-ahead log first; the file grows later, and before the log can shrink.

    Args:
        connection: in a transaction.
        path: the file.
        database: its name, for the message.
        more: bytes to be added.
        share: multiple of the reserved space; larger to look ahead.

    Raises:
        StoreFull: the disk is almost full.
        StoreUnavailable: the file, or its folder, is gone.
    """
    try:
        disk, size = os.statvfs(path.parent), path.stat().st_size
    except OSError as error:
        raise StoreUnavailable(f"The database {database} is gone ({error.strerror}): put its file back") from error
    free = disk.f_bavail * disk.f_frsize
    if free > _PLENTY:
        return
    pages, page_size = (
        connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in ("page_count", "page_size")
    )
    to_grow = max(pages * page_size - size, 0)
    if free < to_grow + 2 * more + share * min(max(disk.f_blocks * disk.f_frsize * _SHARE, _LEAST), _MOST):
        raise StoreFull(
            f"The database {database} cannot grow: its disk is almost full, and the rest is reserved for cleaning up. "
            "Free disk space, or lower EXTENSION_RETENTION_MEGABYTES"
        )
