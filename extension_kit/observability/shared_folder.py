"""Shared folders: temporary folders for the processes of a server, in memory if possible, removed with the server.

A killed server cannot remove its folder; the next server to start does. Every process that uses a folder holds a lock
on it, released by the kernel when the process ends: a folder without a lock is unused. Process ids would not do: other
containers do not see them, and they are reused.
"""

import fcntl
import logging
import os
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

logger = logging.getLogger("extension_kit.server")

# Memory first: on a full disk, a process that writes through mmap, as the metrics do, is killed.
_PLACES = ("/dev/shm", None)  # None is the directory for temporary files
_PREFIX = "extension-kit-shared-"
_TRIES = 10


def make(places: Sequence[str | None] = _PLACES) -> str:
    """Create a folder, in the first place that has room, that this process and its forked children use until they end.

    Returns:
        Its path.

    Raises:
        OSError: no folder can be created.
    """
    problem = OSError("every new folder was removed by another process")
    for place in places:
        try:
            for _ in range(_TRIES):
                folder = tempfile.mkdtemp(prefix=_PREFIX, dir=place)
                if use(folder):
                    return folder
        except OSError as error:
            problem = error
    raise problem


def use(folder: str) -> bool:
    """Lock a folder against removal while this process, or one of its forked children, lives.

    Returns:
        True if the folder is locked, False if it is being removed or gone.

    Raises:
        OSError: the path is no folder, or its file system has no locks.
    """
    try:
        descriptor = _open(folder)
    except FileNotFoundError:
        return False
    with suppress(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        if _is_at(folder, descriptor):
            return True  # the descriptor, and with it the lock, stays open until the process ends
    os.close(descriptor)
    return False


def sweep(places: Sequence[str | None] = _PLACES) -> None:
    """Remove this user's folders that no process uses."""
    for place in places:
        for found in Path(place or tempfile.gettempdir()).glob(f"{_PREFIX}*"):
            with suppress(OSError):  # in use, of another user, or removed by another process
                _remove_unused(str(found))


def _remove_unused(folder: str) -> None:
    descriptor = _open(folder)
    try:
        if os.fstat(descriptor).st_uid != os.geteuid():
            return
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_at(folder, descriptor):
            shutil.rmtree(folder)  # follows no links
            logger.debug("Removed unused folder %s", folder)
    finally:
        os.close(descriptor)


def _open(folder: str) -> int:
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)


def _is_at(folder: str, descriptor: int) -> bool:
    """Return True if the path is still the opened folder: it may have been removed before it was locked."""
    try:
        return os.path.samestat(os.lstat(folder), os.fstat(descriptor))
    except FileNotFoundError:
        return False
