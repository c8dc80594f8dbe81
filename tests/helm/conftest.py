"""The image, built once for all tests that run it, whichever process of pytest they are in."""

import fcntl
import pickle
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.helm.confinement import missing
from tests.helm.image import Image, build
from tests.support.leftovers import shared_directory

ROOT = Path(__file__).parents[2]


@contextmanager
def alone(directory: Path) -> Iterator[None]:
    """Nobody else is in here for the same directory."""
    with directory.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def scratch() -> Path:
    """A directory that other users can look into, unlike pytest's, and that all processes of pytest have together."""
    if reason := missing():
        pytest.skip(reason)
    directory = shared_directory() / "helm"
    with suppress(FileExistsError):
        directory.mkdir()
        directory.chmod(0o755)
    return directory


@pytest.fixture(scope="session")
def image(scratch) -> Image:
    """What the Dockerfile makes."""
    built = scratch / "image.pickle"
    with alone(scratch):
        if not built.exists():
            directory = scratch / "image"
            shutil.rmtree(directory, ignore_errors=True)  # of a process that was ended while it built
            directory.mkdir(mode=0o755)
            built.write_bytes(pickle.dumps(build(ROOT / "Dockerfile", directory)))
        found: Image = pickle.loads(built.read_bytes())
        return found
