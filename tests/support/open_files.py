"""Files that this process has open."""

import os
from contextlib import suppress


def open_files(part: str) -> list[str]:
    """The paths of open files that have ``part`` in them."""
    found = []
    for number in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # it was closed meanwhile
            found.append(os.readlink(f"/proc/self/fd/{number}"))
    return [path for path in found if part in path]
