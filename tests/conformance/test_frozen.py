"""Workers in processes of their own that are killed, or stand still and go on, on both stores.

On SQLite, another worker can take over from one that was killed, but not from one that stands still: that one has the
file for itself. Its supervisor kills it.
"""

import signal
import subprocess
import sys
import threading
import time

import pytest
from sqlalchemy import select

from extension_kit.deliveries.outbox import Outbox
from extension_kit.deliveries.tables import CLAIMED, WAITING, attempts, deliveries
from extension_kit.store.database import Database
from extension_kit.store.migrate import upgrade
from tests.support.recording import entry
from tests.support.waiting import wait_until
from tests.support.workers import TIMEOUT, Attempts, working

STALLED_AFTER = 1.5


@pytest.fixture
def tables():
    """Those of the kit."""
    return ()


@pytest.fixture
def database(database_url):
    database = Database(database_url)
    upgrade(database)
    yield database
    database.dispose()


class Other:
    """A worker in a process of its own."""

    def __init__(self, database, directory):
        self._ledger, self._log = directory / "ledger", directory / "log"
        self._ledger.touch()
        self.go, self.claiming = directory / "go", directory / "claiming"
        command = [sys.executable, "-m", "tests.conformance.engine_worker"]
        url = database.url.render_as_string(hide_password=False)
        with self._log.open("w") as log:
            self.process = subprocess.Popen([*command, url, directory, str(STALLED_AFTER)], stdout=log, stderr=log)

    @property
    def log(self):
        return self._log.read_text()

    def noted(self, word):
        """What it has noted with a word."""
        return [line.split()[1] for line in self._ledger.read_text().splitlines() if line.startswith(f"{word} ")]

    def freeze(self):
        self.process.send_signal(signal.SIGSTOP)

    def wake(self):
        self.process.send_signal(signal.SIGCONT)


@pytest.fixture
def other(database, tmp_path):
    other = Other(database, tmp_path)
    yield other
    other.process.kill()
    other.process.wait(TIMEOUT)


def add(database, *names, lock):
    Outbox(database).record([entry(name, "listener", series=lock) for name in names])


def waiting(database):
    with database.read() as connection:
        query = select(deliveries.c.stage).where(deliveries.c.status == WAITING)
        return connection.execute(query).scalars().all()


def results(database):
    """The results of all attempts, in the order of their deliveries."""
    query = select(attempts.c.result).order_by(attempts.c.delivery_ref, attempts.c.number)
    with database.read() as connection:
        return connection.execute(query).scalars().all()


def test_others_go_on_with_the_deliveries_of_a_killed_worker_in_their_place(database, other):
    for number in range(3):
        for key in range(3):
            add(database, f"{key}-{number}", lock=f"key-{key}")
    wait_until(lambda: sorted(other.noted("start")) == ["0-0", "1-0", "2-0"])
    attempts = Attempts()
    with working(database, attempts, stalled_after=STALLED_AFTER):
        other.process.kill()
        wait_until(lambda: not waiting(database))
    for key in range(3):
        mine = [name for name in attempts.started if name.startswith(f"{key}-")]
        assert mine == [f"{key}-{number}" for number in range(3)]
    assert results(database).count("lost") == 3


def test_a_worker_that_lives_is_not_taken_over_from_however_long_its_attempts_are(database, other):
    add(database, "1", lock="a")
    wait_until(lambda: other.noted("start"))
    attempts = Attempts()
    with working(database, attempts, stalled_after=STALLED_AFTER):
        time.sleep(2 * STALLED_AFTER)  # the time in which nothing must happen
        assert not attempts.started
        other.go.touch()
        wait_until(lambda: not waiting(database))
    assert not attempts.started
    assert results(database) == ["delivered"]


def test_a_worker_that_stood_still_goes_on_alone(database, other):
    add(database, "1", "2", lock="a")
    wait_until(lambda: other.noted("start"))
    other.freeze()
    other.go.touch()
    time.sleep(2 * STALLED_AFTER)  # longer than the limit
    other.wake()
    wait_until(lambda: not waiting(database))
    # On PostgreSQL the server has ended its session, and nobody else has taken its deliveries.
    assert other.noted("start") == ["1", "2"]
    assert results(database) == ["delivered", "delivered"]
    add(database, "3", lock="a")
    wait_until(lambda: not waiting(database))


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
class TestTakenOver:
    def test_who_wakes_up_does_not_touch_what_others_have_taken_over(self, database, other):
        add(database, "1", "2", lock="a")
        wait_until(lambda: other.noted("start") == ["1"])
        go = threading.Event()
        attempts = Attempts(hold={"1": go})
        with working(database, attempts, stalled_after=STALLED_AFTER):
            other.freeze()
            wait_until(lambda: attempts.started == ["1"])
            other.go.touch()
            other.wake()
            wait_until(lambda: "ended too late, result ignored" in other.log)
            assert other.noted("end") == ["1"]
            assert attempts.started == ["1"]
            assert waiting(database)[0] == CLAIMED
            go.set()
            wait_until(lambda: not waiting(database))
            assert attempts.started[0] == "1"
            assert other.noted("start")[0] == "1"
            assert attempts.started[1:] + other.noted("start")[1:] == ["2"]
        add(database, "3", lock="a")
        wait_until(lambda: not waiting(database))
        assert other.noted("start")[-1] == "3"
        assert results(database) == ["lost", "delivered", "delivered", "delivered"]

    def test_who_stands_still_in_a_transaction_keeps_nothing_to_itself(self, database, other):
        other.claiming.touch()
        other.go.touch()
        add(database, "1", "2", lock="a")
        add(database, "3", lock="b")
        wait_until(lambda: other.noted("claims"))
        other.freeze()
        attempts = Attempts()
        with working(database, attempts, stalled_after=STALLED_AFTER):
            wait_until(lambda: not waiting(database))
            assert sorted(attempts.started) == ["1", "2", "3"]
            other.claiming.unlink()
            other.wake()
            wait_until(lambda: "Deliveries resumed after" in other.log)
            assert not other.noted("start")
        add(database, "4", lock="a")
        wait_until(lambda: not waiting(database))
        assert other.noted("start") == ["4"]
        assert attempts.started == [name for name in attempts.started if name in {"1", "2", "3"}]
        assert results(database) == ["delivered"] * 4

    def test_who_stands_still_between_two_transactions_loses_its_shards_to_others(self, database, other):
        add(database, "0", lock="a")
        wait_until(lambda: other.noted("start"))
        other.go.touch()
        wait_until(lambda: not waiting(database))
        other.freeze()
        attempts = Attempts()
        with working(database, attempts, stalled_after=STALLED_AFTER):
            for number in range(8):
                add(database, f"{number}-1", lock=f"key-{number}")
            wait_until(lambda: not waiting(database))
            assert len(attempts.started) == 8
            other.wake()
            for number in range(8):
                add(database, f"{number}-2", lock=f"key-{number}")
            wait_until(lambda: not waiting(database))
        assert len(attempts.started) + len(other.noted("start")) == 17
