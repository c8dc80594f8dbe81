"""Revision: the commit that an extension was built from, for the line with build information at the start."""

import subprocess
from pathlib import Path

UNKNOWN = "unknown"
_SECONDS = 5


def find_revision(folder: Path) -> str:
    """Find the revision of an extension.

    Args:
        folder: of its handler file or package.

    Returns:
        The commit of git's working tree that has the folder, with ``-dirty`` if files below it were changed;
        ``unknown`` without one.
    """
    if (commit := _git(folder, "rev-parse", "--short=12", "HEAD")) is None:
        return UNKNOWN
    # Not the folder of a virtual environment that happens to lie in somebody's working tree.
    if not _git(folder, "ls-files", "--", "."):
        return UNKNOWN
    return f"{commit}-dirty" if _git(folder, "status", "--porcelain", "--untracked-files=no", "--", ".") else commit


def _git(folder: Path, *arguments: str) -> str | None:
    """Return the output of a git command, without waiting for locks or long; None if it failed."""
    command = ["git", "--no-optional-locks", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(  # noqa: S603 (its arguments are constants)
            command, capture_output=True, text=True, timeout=_SECONDS, check=True, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
