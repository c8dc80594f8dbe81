"""A bell wakes the worker of a SQLite database, keeps nobody who rings it waiting, and is not needed."""

import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest

from extension_kit.deliveries.bell import Bell

LONG = 60.0  # seconds: a test that waits so long has failed
LOUD = 1000  # rings; more than the kernel keeps for a socket


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "extension.db-inbox"
    path.touch()
    return path


@pytest.fixture
def open_bell(path):
    opened = []

    def open_bell(path=path):
        opened.append(Bell(path))
        return opened[-1]

    yield open_bell
    for bell in opened:
        bell.close()


@contextmanager
def waiting(bell):
    """A thread that waits for the bell; it must have been woken at the end."""
    woken = threading.Event()

    def wait():
        bell.wait(LONG)
        woken.set()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    yield
    assert woken.wait(LONG / 2)
    thread.join()


def heard(bell):
    """A bell that somebody listens to."""
    bell.wait(0)
    return bell


def is_ringing(bell):
    """True if waiting for the bell takes no time."""
    began = time.monotonic()
    bell.wait(LONG)
    return time.monotonic() - began < LONG / 2


def is_silent(bell):
    """True if waiting for the bell takes all the time that it may."""
    began = time.monotonic()
    bell.wait(0.05)
    return time.monotonic() - began >= 0.05


def test_whoever_waits_is_woken(open_bell):
    listening, ringing = heard(open_bell()), open_bell()
    with waiting(listening):
        ringing.ring()


def test_another_process_may_ring(open_bell, path):
    listening = heard(open_bell())
    program = (
        "import pathlib, sys\nfrom extension_kit.deliveries.bell import Bell\nBell(pathlib.Path(sys.argv[1])).ring()"
    )
    with waiting(listening):
        subprocess.run([sys.executable, "-c", program, path], check=True, timeout=LONG)


def test_a_ring_before_the_wait_is_heard(open_bell):
    listening, ringing = heard(open_bell()), open_bell()
    ringing.ring()
    assert is_ringing(listening)


def test_many_rings_are_heard_once(open_bell):
    listening, ringing = heard(open_bell()), open_bell()
    for _ in range(3):
        ringing.ring()
    assert is_ringing(listening)
    assert is_silent(listening)


def test_without_a_ring_it_waits_as_long_as_it_may(open_bell):
    assert is_silent(heard(open_bell()))


def test_nobody_listens(open_bell):
    bell = open_bell()
    bell.ring()
    bell.wait(0)
    with waiting(bell):
        bell.ring()


def test_whoever_listened_has_ended_and_another_begins(open_bell):
    first, ringing = heard(open_bell()), open_bell()
    ringing.ring()
    first.close()
    ringing.ring()
    second = heard(open_bell())
    with waiting(second):
        ringing.ring()


def test_another_has_begun_to_listen_before_the_next_ring(open_bell):
    first, ringing = heard(open_bell()), open_bell()
    ringing.ring()
    first.close()
    second = heard(open_bell())
    ringing.ring()
    assert is_ringing(second)


def test_one_that_rings_too_often_is_not_kept_waiting(open_bell):
    listening, ringing = heard(open_bell()), open_bell()
    for _ in range(LOUD):
        ringing.ring()
    assert is_ringing(listening)
    assert is_silent(listening)
    ringing.ring()
    assert is_ringing(listening)


def test_a_second_one_looks_again_soon_and_takes_over(open_bell):
    first, second, ringing = heard(open_bell()), open_bell(), open_bell()
    for _ in range(2):
        assert is_ringing(second)  # it does not wait as long as it may
    first.close()
    heard(second)
    with waiting(second):
        ringing.ring()


def test_it_belongs_to_the_file_and_not_to_its_name(open_bell, path, tmp_path):
    listening = heard(open_bell())
    other = tmp_path / "other"
    other.symlink_to(path)
    with waiting(listening):
        open_bell(other).ring()
    path.rename(tmp_path / "moved")
    path.touch()
    open_bell().ring()
    assert is_silent(listening)


def test_a_file_that_is_missing_has_none(open_bell, path):
    path.unlink()
    bell = open_bell()
    bell.ring()
    assert is_ringing(bell)  # one looks again soon


def test_there_is_no_file_of_it(open_bell, path, tmp_path):
    open_bell().ring()
    heard(open_bell())
    assert list(tmp_path.iterdir()) == [path]


def test_closed_it_leaves_no_file_open_and_can_be_used_again(open_bell):
    before = len(os.listdir("/proc/self/fd"))
    listening, ringing = heard(open_bell()), open_bell()
    ringing.ring()
    listening.close()
    ringing.close()
    assert len(os.listdir("/proc/self/fd")) == before
    heard(listening)
    with waiting(listening):
        ringing.ring()
