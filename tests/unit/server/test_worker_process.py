"""The process beside the web processes, as its supervisor sees it: silent or not, however time passes for both."""

import logging
import os
import socket
import sys

import pytest

from extension_kit.server import watched_process
from extension_kit.server.worker_process import WorkerProcess

LONGEST = 30.0
CHILD = """
import os, socket, sys
pipe = int(sys.argv[-1])
with socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=60) as told:
    told.sendall(str(os.getpid()).encode())
    while word := told.recv(1):
        os.write(pipe, word)
        told.sendall(b".")
"""
"""Gives a sign of life when it is told to, and says that it has."""


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 1000.0

        def passes(self, seconds):
            self.now += seconds

    clock = Clock()
    monkeypatch.setattr(watched_process.time, "monotonic", lambda: clock.now)
    return clock


class Supervised:
    """A supervisor and its children, which are told when to give a sign of life."""

    def __init__(self, clock):
        self._clock = clock
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.settimeout(30)
        self.process = WorkerProcess([], LONGEST)
        self.process._command = [sys.executable, "-c", CHILD, str(self._listening.getsockname()[1])]
        self._told = None
        self.started = []

    def start(self):
        self.process.keep_running()
        if self._told is not None:
            self._told.close()
        self._told, _ = self._listening.accept()
        self._told.settimeout(30)
        self.started.append(int(self._told.recv(20)))

    def give_a_sign(self, sign=b"\0"):
        for byte in sign:
            self._told.sendall(bytes([byte]))
            assert self._told.recv(1) == b"."

    def look(self, times, every=1.0):
        """Look so many times; return True if the child is still there."""
        for _ in range(times):
            self._clock.passes(every)
            self.process.keep_running()
            if not os.path.exists(f"/proc/{self.started[-1]}"):
                return False
        return True

    def close(self):
        self.process.stop()
        self.process.wait(30)
        if self._told is not None:
            self._told.close()
        self._listening.close()


@pytest.fixture
def supervised(clock):
    supervised = Supervised(clock)
    yield supervised
    supervised.close()


def test_a_process_says_what_is_not_ready(supervised):
    supervised.start()
    assert supervised.process.reasons == ""
    supervised.give_a_sign(b"one: no\0one: no\ntwo: no\0two")
    assert supervised.look(1)
    assert supervised.process.reasons == "one: no\ntwo: no"
    supervised.give_a_sign(b": no\0")
    assert supervised.look(1)
    assert supervised.process.reasons == "two: no"
    assert not supervised.look(30)
    supervised.start()  # the next process has not said anything yet
    assert supervised.process.reasons == "two: no"
    supervised.give_a_sign()
    assert supervised.look(1)
    assert supervised.process.reasons == ""


class TestSilentProcess:
    def test_is_replaced_at_once(self, supervised, caplog):
        supervised.start()
        supervised.give_a_sign()
        assert supervised.look(1)
        assert supervised.look(29)
        assert not supervised.look(1)
        supervised.start()
        assert len(set(supervised.started)) == 2
        said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
        assert said == ["Delivery worker killed: no sign of life for 30 s; its deliveries will be taken over"]

    def test_is_not_one_that_gives_signs(self, supervised):
        supervised.start()
        for _ in range(50):
            supervised.give_a_sign()
            assert supervised.look(5)

    def test_has_longer_to_begin(self, supervised):
        supervised.start()
        assert supervised.look(119)
        supervised.give_a_sign()
        assert supervised.look(30)
        assert not supervised.look(1)

    def test_that_never_begins_is_replaced_too(self, supervised):
        supervised.start()
        assert not supervised.look(120)

    def test_is_not_one_that_this_process_could_not_see(self, supervised):
        """A laptop that slept, a container that was paused: the child had no time either."""
        supervised.start()
        supervised.give_a_sign()
        assert supervised.look(1)
        assert supervised.look(10, every=3600)
        supervised.give_a_sign()
        assert supervised.look(1)

    def test_leaves_no_open_file(self, supervised):
        supervised.start()
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(3):
            supervised.give_a_sign()
            supervised.look(1)
            supervised.look(30)
            supervised.start()
        assert len(os.listdir("/proc/self/fd")) == before
