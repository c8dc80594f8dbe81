"""Folder flush: writes the names in a folder to the disk, so that a power failure loses no new file."""

import os
from contextlib import suppress
from pathlib import Path


def flush_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk. Flushing a file writes its contents, and not its name.

    Nothing is done where folders cannot be opened or flushed, as on some network file systems.
    """
    with suppress(OSError):
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
