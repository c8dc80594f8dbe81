"""A process beside a server, as its parent keeps it running: after failures with pauses, after orders at once."""

import logging
import sys

import pytest

from extension_kit.server import child_process
from extension_kit.server.child_process import ChildProcess
from tests.support.waiting import wait_until


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 1000.0

    clock = Clock()
    monkeypatch.setattr(child_process.time, "monotonic", lambda: clock.now)
    return clock


def errors(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]


def test_the_pauses_between_failures_grow(clock, caplog):
    child = ChildProcess("Event log", ["/no/such/command"])
    waited = []
    for _ in range(8):
        began = clock.now
        before = len(errors(caplog))
        while len(errors(caplog)) == before:
            child.keep_running()
            clock.now += 0.5
        waited.append(clock.now - 0.5 - began)
    assert errors(caplog) == [
        f"Event log cannot be started (No such file or directory), restarting in {pause:g} s"
        for pause in (0, 1, 2, 4, 8, 16, 30, 30)
    ]
    assert waited == [0, *(max(0, pause - 0.5) for pause in (0, 1, 2, 4, 8, 16, 30))]


def test_an_early_end_is_said_with_its_code(clock, caplog):
    child = ChildProcess("Event log", [sys.executable, "-c", "import sys; sys.exit(3)"])
    child.keep_running()
    child._process.wait(30)
    child.keep_running()
    assert errors(caplog) == ["Event log exited (code 3), restarting in 0 s"]
    child.wait(30)


def test_one_that_was_told_to_end_has_not_failed(clock, caplog):
    child = ChildProcess("Event log", [sys.executable, "-c", "import time; time.sleep(60)"])
    child.keep_running()
    first = child._process
    child.stop()
    first.wait(30)
    child.keep_running()
    assert child._process not in (None, first)
    assert errors(caplog) == []
    child.stop()
    child.wait(30)


def test_one_that_does_not_end_is_killed(caplog):
    endless = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    child = ChildProcess("Event log", [sys.executable, "-c", endless])
    child.keep_running()
    process = child._process
    wait_until(lambda: ignores_the_signal(process.pid))
    child.stop()
    child.wait(0.1)
    assert process.returncode == -9
    assert "Event log killed: it did not end within the grace period" in caplog.messages
    child.wait(0.1)  # it is forgotten


def ignores_the_signal(pid):
    with open(f"/proc/{pid}/status") as status:
        (mask,) = [line.split()[1] for line in status if line.startswith("SigIgn:")]
    return int(mask, 16) >> 14 & 1
