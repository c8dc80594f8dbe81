"""One trouble after the other under load, for SOAK_SECONDS (300): run by ``make soak``."""

import os
import random
import signal
import time
from contextlib import ExitStack

import pytest

from tests.conformance.load import load
from tests.support.durable import prepared, statuses
from tests.support.ledgers import strictly_ordered, wait_for_all
from tests.support.servers import ready
from tests.support.waiting import wait_until

SECONDS = float(os.environ.get("SOAK_SECONDS", "300"))

pytestmark = [pytest.mark.soak, pytest.mark.timeout(2 * SECONDS + 600)]


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request, tmp_path):
    """The URL of the database, and what may happen to its server."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/extension.db", None
    server = request.getfixturevalue("own_postgresql")
    return server.url, server


@pytest.fixture
def environment(store, ledger):
    return prepared(store[0], ledger)


class Troubles:
    """What may happen to a server, two workers and their database."""

    def __init__(self, server, work, postgresql):
        self._server = server
        self._work = work
        self._postgresql = postgresql
        self._stack = ExitStack()
        self._workers = [self._start(), self._start()]
        self.kinds = [self.kill_web_process, self.kill_worker, self.stop_worker, self.freeze_worker]
        if postgresql is not None:
            self.kinds += [self.stop_postgresql, self.crash_postgresql]

    def _start(self):
        return self._stack.enter_context(self._work())

    def close(self):
        self._stack.close()

    def kill_web_process(self):
        for pid in self._server.children("serve"):
            os.kill(pid, signal.SIGKILL)

    def kill_worker(self):
        self._end_worker(signal.SIGKILL)

    def stop_worker(self):
        self._end_worker(signal.SIGTERM)

    def _end_worker(self, number):
        self._workers.pop(0).stop(number)
        self._workers.append(self._start())

    def freeze_worker(self):
        # On SQLite it may hold the file's lock while it is frozen: then all others wait for it.
        self._workers[0].process.send_signal(signal.SIGSTOP)
        time.sleep(random.uniform(0, 6))
        self._workers[0].process.send_signal(signal.SIGCONT)

    def stop_postgresql(self):
        self._restart_postgresql(signal.SIGINT)

    def crash_postgresql(self):
        self._restart_postgresql(signal.SIGQUIT)

    def _restart_postgresql(self, how):
        self._postgresql.stop(how)
        time.sleep(random.uniform(0, 2))
        self._postgresql.start()


def test_whatever_happens_nothing_is_lost_and_the_order_is_kept(serve, work, ledger, event, store):
    url, postgresql = store
    seed = random.randrange(1_000_000)
    print(f"seed {seed}")
    random.seed(seed)
    retry = ",".join(["0.05"] * 100)  # so that no run of bad luck makes a dead letter
    with serve("--no-worker", EXTENSION_WEB_WORKERS=2, RETRY=retry) as server:
        ready(server)
        troubles = Troubles(server, lambda: work(RETRY=retry), postgresql)
        try:
            with load(server, event, "/events/plain", keys=5, pause=0.05) as senders:
                until = time.monotonic() + SECONDS
                while time.monotonic() < until:
                    trouble = random.choice(troubles.kinds)
                    print(f"{time.strftime('%T')} {trouble.__name__}, {len(senders.accepted)} accepted so far")
                    trouble()
                    senders.wait_for_more(20)
            wait_for_all(senders.accepted, ledger)
            wait_until(lambda: statuses(url).keys() == {"delivered"}, timeout=60)
        finally:
            troubles.close()
    assert strictly_ordered(ledger)
