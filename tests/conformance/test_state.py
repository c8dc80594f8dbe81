"""State under kill -9 at random moments, and with a database that crashes: it agrees with the deliveries.

KILLS and CRASHES in the environment say how often.
"""

import os
import signal
import time
from collections import Counter
from contextlib import ExitStack

import pytest

from extension_kit.deliveries.state import StoredState
from extension_kit.store.database import Database
from tests.conformance.load import load
from tests.support.durable import all_deliveries, prepared, statuses
from tests.support.servers import ready
from tests.support.waiting import wait_until

KILLS = int(os.environ.get("KILLS", "20"))
CRASHES = int(os.environ.get("CRASHES", "3"))
RETRY = ",".join(["0.02"] * 200)  # so that no run of bad luck makes a dead letter
APP = "counts.py"

pytestmark = pytest.mark.timeout(180 + 20 * max(KILLS, CRASHES))


def agree(accepted, database_url):
    """Wait until all events are delivered, and compare what the function has kept."""
    wait_until(lambda: statuses(database_url).keys() == {"delivered"}, timeout=90)
    delivered = delivered_by_series(database_url)
    database = Database(database_url)
    try:
        state = StoredState(database, "extension-counts")
        counts = {key.partition("/")[2]: int(state.find(key)) for key in state.keys("count/", 1000)}
        assert counts == delivered
        assert sum(delivered.values()) == len(accepted)
        assert state.sums("", 10) == {"deliveries": len(accepted)}
        assert state.keys("failed/", 10) == state.keys("temporary/", 10) == []
        assert state.find("last").decode().strip('"') in accepted
    finally:
        database.dispose()


def number_delivered(database_url):
    return statuses(database_url).get("delivered", 0)


def delivered_by_series(database_url):
    return Counter(
        each.event_id.partition("-")[0] for each in all_deliveries(database_url) if each.status == "delivered"
    )


def test_a_count_kept_in_the_state_is_that_of_the_deliveries(serve, work, event, database_url, moments):
    """Two workers, one of which is killed again and again; on SQLite the other stands by."""
    with serve("--no-worker", app=APP) as server, ExitStack() as stack:
        ready(server)
        workers = [stack.enter_context(work(app=APP, RETRY=RETRY)) for _ in range(2)]
        with load(server, event, "/events/count", keys=6, pause=0.005) as senders:
            wait_until(lambda: number_delivered(database_url))
            for _ in range(KILLS):
                time.sleep(moments.uniform(0, 0.5))  # a moment, not an event that is waited for
                os.killpg(workers.pop(0).process.pid, signal.SIGKILL)
                workers.append(stack.enter_context(work(app=APP, RETRY=RETRY)))
                senders.wait_for_more(3)
        agree(senders.accepted, database_url)
        for worker in workers:
            assert worker.log.count("Traceback") == worker.log.count(" raised on experiment.")
            assert "deadlock" not in worker.log


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_what_a_frozen_worker_has_not_written_is_made_by_others(serve, work, event, database_url):
    options = {"app": APP, "RETRY": RETRY}
    with serve("--no-worker", app=APP) as server, work(**options) as one, work(**options) as two:
        ready(server)
        with load(server, event, "/events/count", keys=6, pause=0.005) as senders:
            for worker in (one, two):
                wait_until(lambda: len(delivered_by_series(database_url)) == 6)
                os.killpg(worker.process.pid, signal.SIGSTOP)
                try:
                    before = delivered_by_series(database_url)
                    wait_until(
                        lambda before=before: all(
                            delivered_by_series(database_url)[key] > before[key] for key in before
                        )
                    )
                finally:
                    os.killpg(worker.process.pid, signal.SIGCONT)
                senders.wait_for_more(50)
        agree(senders.accepted, database_url)


class TestPostgresqlCrashes:
    @pytest.fixture
    def database_url(self, own_postgresql):
        return own_postgresql.url

    @pytest.fixture
    def environment(self, own_postgresql, ledger):
        return prepared(own_postgresql.url, ledger)

    def test_under_load(self, own_postgresql, serve, work, event, database_url, moments):
        options = {"app": APP, "RETRY": RETRY}
        with serve("--no-worker", app=APP) as server, work(**options), work(**options):
            ready(server)
            with load(server, event, "/events/count", keys=6, pause=0.005) as senders:
                for _ in range(CRASHES):
                    before = number_delivered(database_url)
                    wait_until(lambda before=before: number_delivered(database_url) > before + 5)
                    time.sleep(moments.uniform(0, 0.5))  # a moment, not an event that is waited for
                    own_postgresql.stop(signal.SIGQUIT)
                    own_postgresql.start()
                    senders.wait_for_more(5)
            agree(senders.accepted, database_url)
