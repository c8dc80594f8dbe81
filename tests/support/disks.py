"""Disks with little room."""

import subprocess
from contextlib import contextmanager

import pytest


@contextmanager
def small_disk(directory, size):
    """A file system of its own in a new directory; the test is skipped where nobody may mount one.

    Args:
        directory: the path of the new directory.
        size: of the file system, such as ``30m``.
    """
    directory.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", directory]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a file system is not allowed")
    try:
        yield directory
    finally:
        subprocess.run(["umount", "-l", directory], check=True)
