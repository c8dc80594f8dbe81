"""Folders that the processes of a server share, in memory where there is such a place, and that go with the server.

A server that is killed cannot remove its own, so that the next one to start does. Every process that uses a folder has
a lock on it, which the kernel takes away with the last of them: a folder without one belongs to nobody any more. That
says more than a process id, which other containers do not see and which the next process may be given.
"""

import fcntl
import logging
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

logger = logging.getLogger("extension_kit.server")

# Memory first: what writes through mmap, as the metrics do, is killed by a full disk.
_PLACES = ("/dev/shm", None)  # None is the directory for temporary files
_PREFIX = "extension-kit-shared-"
_TRIES = 10


def make() -> str:
    """Make a folder that this process and those it forks use until they end.

    Raises:
        OSError: none can be made.
    """
    problem = OSError("others remove each one at once")
    for place in _PLACES:
        try:
            for _ in range(_TRIES):
                folder = tempfile.mkdtemp(prefix=_PREFIX, dir=place)
                if use(folder):
                    return folder
        except OSError as error:
            problem = error
    raise problem


def use(folder: str) -> bool:
    """Keep others from removing a folder while this process, or one that it forks, lives.

    Returns:
        Whether the folder is kept; otherwise it is being removed or gone.

    Raises:
        OSError: it is no folder, or its file system has no locks.
    """
    try:
        descriptor = _open(folder)
    except FileNotFoundError:
        return False
    with suppress(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        if _is_at(folder, descriptor):
            return True  # the descriptor stays open until the end, and the lock with it
    os.close(descriptor)
    return False


def sweep() -> None:
    """Remove the folders of this user that no process uses any more."""
    for place in _PLACES:
        for found in Path(place or tempfile.gettempdir()).glob(f"{_PREFIX}*"):
            with suppress(OSError):  # it is in use, or somebody else's, or somebody else was faster
                _remove_unused(str(found))


def _remove_unused(folder: str) -> None:
    descriptor = _open(folder)
    try:
        if os.fstat(descriptor).st_uid != os.geteuid():
            return
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_at(folder, descriptor):
            shutil.rmtree(folder)  # which follows no links
            logger.debug("Removed %s, which no process uses any more", folder)
    finally:
        os.close(descriptor)


def _open(folder: str) -> int:
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)


def _is_at(folder: str, descriptor: int) -> bool:
    """Whether the folder is still the one that was opened: it may have been removed before it was locked."""
    try:
        return os.path.samestat(os.lstat(folder), os.fstat(descriptor))
    except FileNotFoundError:
        return False
