"""Folders that belong to processes, with processes that are killed and others that sweep meanwhile."""

import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from extension_kit.observability import shared_folder
from tests.support.waiting import wait_until

HOLDER = """
import os, sys
from extension_kit.observability import shared_folder
print(shared_folder.make([sys.argv[1]]), flush=True)
if "fork" in sys.argv:
    if child := os.fork():
        print(child, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def place(tmp_path):
    """Where folders are made: of this test alone."""
    return tmp_path


@contextmanager
def holder(place, *arguments):
    """A process that has made a folder and lives until it is killed."""
    command = [sys.executable, "-c", HOLDER, str(place), *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process, Path(process.stdout.readline().strip())
        finally:
            process.kill()


def swept(folder):
    shared_folder.sweep([folder.parent])
    return not folder.exists()


def test_a_folder_stays_while_its_process_lives_and_goes_after_it_was_killed(place):
    with holder(place) as (process, folder):
        (folder / "file").write_text("x")
        assert not swept(folder)
        process.kill()
        process.wait(30)
        assert swept(folder)


def test_a_folder_stays_while_a_forked_process_lives(place):
    with holder(place, "fork") as (process, folder):
        child = int(process.stdout.readline())
        process.kill()
        process.wait(30)
        assert not swept(folder)
        os.kill(child, 9)
        wait_until(lambda: swept(folder))


def test_a_process_that_did_not_make_it_keeps_a_folder(place):
    user = (
        "import sys; from extension_kit.observability import shared_folder as f\n"
        "print(f.use(sys.argv[1]), flush=True); input()"
    )
    with holder(place) as (process, folder):
        command = [sys.executable, "-c", user, str(folder)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
            assert other.stdout.readline() == "True\n"
            process.kill()
            process.wait(30)
            assert not swept(folder)
            other.kill()
            other.wait(30)
            assert swept(folder)


def test_what_is_gone_is_not_used(place):
    assert not shared_folder.use(str(place / "nothing"))


def test_links_are_neither_followed_nor_removed(place, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    (outside / "precious").write_text("x")
    (place / f"{shared_folder._PREFIX}link").symlink_to(outside)
    unused = place / f"{shared_folder._PREFIX}unused"
    unused.mkdir()
    (unused / "link").symlink_to(outside)
    (place / f"{shared_folder._PREFIX}file").write_text("x")
    (place / "another-program").mkdir()
    shared_folder.sweep([place])
    assert (outside / "precious").exists()
    assert sorted(path.name.removeprefix(shared_folder._PREFIX) for path in place.iterdir()) == [
        "another-program",
        "file",
        "link",
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make what is somebody else's")
def test_what_is_somebody_elses_stays(place):
    other = place / f"{shared_folder._PREFIX}other"
    other.mkdir()
    os.chown(other, 12345, 12345)
    assert not swept(other)


def test_a_folder_that_was_just_made_is_not_swept(place):
    """Others sweep all the time: what is made in between is either kept, or not returned."""
    ended = threading.Event()

    def sweep():
        while not ended.is_set():
            shared_folder.sweep([place])

    sweepers = [threading.Thread(target=sweep) for _ in range(3)]
    for sweeper in sweepers:
        sweeper.start()
    try:
        made = []
        for _ in range(100):
            try:
                made.append(shared_folder.make([str(place)]))
            except OSError:  # each of ten was swept before it was locked
                continue
        assert made
        assert all(map(os.path.isdir, made))
    finally:
        ended.set()
        for sweeper in sweepers:
            sweeper.join(30)


def test_where_nothing_can_be_made_it_says_so():
    with pytest.raises(OSError, match="/proc"):
        shared_folder.make(["/proc"])
