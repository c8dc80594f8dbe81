"""Signs of life of a worker: bytes in a pipe, which hold nobody up, and the answer for a health port."""

import os
import signal
import subprocess
import sys

import pytest

from extension_kit.engine import liveness
from extension_kit.engine.liveness import Liveness


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 1000.0

    monkeypatch.setattr(liveness.time, "monotonic", lambda: Clock.now)
    return Clock


@pytest.fixture
def pipe():
    """The reading and the writing end of a pipe that is inherited."""
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    os.set_blocking(reader, False)
    yield reader, writer
    for end in (reader, writer):
        os.close(end)


def written(reader):
    try:
        return len(os.read(reader, 1_000_000))
    except BlockingIOError:
        return 0


def test_a_worker_may_be_silent_for_some_time(clock):
    one = Liveness(30)
    clock.now += 100
    assert one.is_alive()  # it has not begun
    one.tell()
    clock.now += 29
    assert one.is_alive()
    clock.now += 1
    assert not one.is_alive()
    one.tell()
    assert one.is_alive()


def test_at_most_a_byte_a_second(clock, pipe):
    reader, writer = pipe
    one = Liveness(30, writer)
    for _ in range(41):
        one.tell()
        clock.now += 0.25
    assert written(reader) == 11


def test_a_supervisor_that_does_not_read_holds_nobody_up(clock, pipe):
    reader, writer = pipe
    one = Liveness(30, writer)
    signal.alarm(60)  # ends the test if it hangs
    for _ in range(200_000):
        one.tell()
        clock.now += 1
    signal.alarm(0)
    assert 0 < written(reader) < 200_000
    one.tell()
    assert written(reader) == 1


def test_a_supervisor_that_is_gone_is_no_error(clock):
    reader, writer = os.pipe()
    os.close(reader)
    one = Liveness(30, writer)
    one.tell()
    assert one.is_alive()
    os.close(writer)


def test_programs_that_a_function_starts_do_not_get_the_pipe(pipe):
    _, writer = pipe
    Liveness(30, writer)
    ask = f"import os; os.fstat({writer})"
    asked = subprocess.run([sys.executable, "-c", ask], close_fds=False, capture_output=True, text=True, timeout=60)
    assert "Bad file descriptor" in asked.stderr


def test_signs_say_what_is_not_ready(clock, pipe):
    reader, writer = pipe
    reasons = ["extension-oncall: no connection", "extension-other: ü"]
    one = Liveness(30, writer, lambda: reasons)
    one.tell()
    reasons.clear()
    clock.now += 1
    one.tell()
    assert os.read(reader, 1000).decode() == "extension-oncall: no connection\nextension-other: ü\0\0"
