"""The file that the worker of a SQLite database locks: what may be wrong with it, and what is said then."""

import errno
import os
import subprocess
import sys

import pytest

from extension_kit.engine import sqlite_owner
from extension_kit.engine.sqlite_owner import SqliteOwner
from extension_kit.errors import StoreUnavailable
from extension_kit.store.database import Database

NOBODY = 65534


@pytest.fixture
def beside(tmp_path):
    database = Database(f"sqlite:///{tmp_path}/own.db")
    yield database
    database.dispose()


@pytest.fixture
def owner(beside):
    """Make owners, which are closed at the end."""
    made = []

    def owner():
        made.append(SqliteOwner(beside))
        return made[-1]

    yield owner
    for each in made:
        each.close()


@pytest.fixture
def file(tmp_path):
    return tmp_path / "own.db-worker"


def test_one_that_is_removed_before_it_is_locked_is_left_alone(owner, file, monkeypatch):
    def removed_before(descriptor, operation):
        file.unlink()
        lock(descriptor, operation)

    lock = sqlite_owner.fcntl.flock
    one = owner()
    with monkeypatch.context() as patched:
        patched.setattr(sqlite_owner.fcntl, "flock", removed_before)
        assert one.look(()) == []
    assert one.look(()) == [0]


def test_who_lost_it_takes_no_claims_of_the_other_for_those_of_a_dead_worker(stored):
    stored.claim(*stored.add("a"))
    assert stored.call("claimed", []) == []
    assert len(stored.call("claimed", stored.shards)) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_folder_that_may_not_be_written_is_named(tmp_path):
    """In a process of its own, by a user who may only read there."""
    code = (
        "import os, sys\n"
        "from extension_kit.engine.sqlite_owner import SqliteOwner\n"
        "from extension_kit.store.database import Database\n"
        "owner = SqliteOwner(Database(sys.argv[1]))\n"
        f"os.setuid({NOBODY})\n"
        "owner.look(())\n"
    )
    folder = tmp_path / "folder"
    folder.mkdir()
    url = f"sqlite:////proc/self/cwd/{folder.name}/own.db"  # the folders above it are not for others
    said = subprocess.run(
        [sys.executable, "-c", code, url], cwd=tmp_path, capture_output=True, text=True, timeout=60
    ).stderr
    assert "own.db-worker cannot be opened (Permission denied): let this user write it, and its folder" in said


def test_a_file_system_without_locks_is_named(owner, monkeypatch):
    """As NFS without its lock daemon answers; no such file system can be mounted by a test."""

    def no_locks(descriptor, operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(sqlite_owner.fcntl, "flock", no_locks)
    with pytest.raises(StoreUnavailable, match=r"cannot be locked \(No locks available\): put the database on a local"):
        owner().look(())
    assert len(os.listdir("/proc/self/fd")) == before
