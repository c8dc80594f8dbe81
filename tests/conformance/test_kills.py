"""Kill -9 at random moments, and a database that crashes: what was answered with 200 is delivered, in order.

KILLS and CRASHES in the environment say how often; ``KILLS=300 CRASHES=50`` is a long run.
"""

import os
import signal
import time
from contextlib import ExitStack, suppress

import pytest

from tests.conformance.load import load
from tests.support.durable import prepared, statuses
from tests.support.ledgers import ended, strictly_ordered, wait_for_all
from tests.support.servers import ready
from tests.support.waiting import wait_until

KILLS = int(os.environ.get("KILLS", "20"))
CRASHES = int(os.environ.get("CRASHES", "3"))
RETRY = ",".join(["0.02"] * 200)  # so that no run of bad luck makes a dead letter

pytestmark = pytest.mark.timeout(180 + 20 * max(KILLS, CRASHES))


def all_delivered(senders, ledger, url):
    wait_for_all(senders.accepted, ledger)
    wait_until(lambda: statuses(url).keys() == {"delivered"}, timeout=90)
    assert senders.accepted
    assert strictly_ordered(ledger)


class Workers:
    """Two workers, each of which may be killed and replaced."""

    def __init__(self, start):
        self._start = start
        self._all = []
        for _ in range(2):
            self._add()

    def _add(self):
        stack = ExitStack()
        self._all.append((stack.enter_context(self._start()), stack))

    def kill(self, which):
        worker, stack = self._all.pop(which)
        os.killpg(worker.process.pid, signal.SIGKILL)
        stack.close()
        self._add()

    def close(self):
        for _, stack in self._all:
            stack.close()


def test_processes_that_are_killed_at_any_moment(serve, work, ledger, event, database_url, moments):
    """One of two web processes, or one of two workers."""
    with serve("--no-worker", EXTENSION_WEB_WORKERS=2, RETRY=RETRY) as server:
        ready(server)
        workers = Workers(lambda: work(RETRY=RETRY))
        try:
            with load(server, event, "/events/fails-first", keys=6, pause=0.01) as senders:
                wait_until(lambda: ended(ledger))
                for _ in range(KILLS):
                    time.sleep(moments.uniform(0, 0.5))  # a moment, not an event that is waited for
                    if (which := moments.randrange(3)) < 2:
                        workers.kill(which)
                    elif web := server.children("serve"):
                        with suppress(ProcessLookupError):
                            os.kill(moments.choice(sorted(web)), signal.SIGKILL)
                    senders.wait_for_more(3)
            all_delivered(senders, ledger, database_url)
        finally:
            workers.close()


class TestPostgresqlCrashes:
    @pytest.fixture
    def database_url(self, own_postgresql):
        return own_postgresql.url

    @pytest.fixture
    def environment(self, own_postgresql, ledger):
        return prepared(own_postgresql.url, ledger)

    def test_under_load(self, own_postgresql, serve, work, ledger, event, database_url, moments):
        with (
            serve("--no-worker", RETRY=RETRY) as server,
            work(RETRY=RETRY) as one,
            work(RETRY=RETRY) as two,
        ):
            ready(server)
            with load(server, event, "/events/fails-first", keys=6, pause=0.01) as senders:
                for _ in range(CRASHES):
                    delivered = len(ended(ledger))
                    wait_until(lambda before=delivered: len(ended(ledger)) > before + 5)
                    time.sleep(moments.uniform(0, 0.5))  # a moment, not an event that is waited for
                    own_postgresql.stop(signal.SIGQUIT)
                    own_postgresql.start()
                    senders.wait_for_more(5)
            all_delivered(senders, ledger, database_url)
            for log in (server.log, one.log, two.log):
                assert log.count("Traceback") == log.count(" raised on experiment.")
