"""Clocks that are set: nothing is lost, nothing is run twice, and what comes in afterwards is not kept waiting.

On PostgreSQL the server's clock stays right: the processes differ from it, and from each other.
"""

import time
from collections import Counter

import pytest

from extension_kit.store.database import Database
from tests.support.durable import statuses
from tests.support.ledgers import ended, lines, run_event, strictly_ordered
from tests.support.servers import ready
from tests.support.waiting import wait_until

DAY = 86400.0


@pytest.fixture
def clock(tmp_path):
    path = tmp_path / "clock"
    path.write_text("0")
    return path


@pytest.fixture
def set_clock(clock):
    """Set the clock of some processes, and wait until they have it."""

    def set_clock(seconds, *processes):
        said = [process.log.count("the clock says") for process in processes]
        clock.write_text(str(seconds))
        for process, before in zip(processes, said, strict=True):
            wait_until(lambda process=process, before=before: process.log.count("the clock says") > before)

    return set_clock


@pytest.mark.parametrize("jump", [3 * DAY, -3 * DAY])
def test_attempts_under_way_go_on_and_new_events_are_delivered(
    serve, work, ledger, clock, set_clock, event, database_url, jump
):
    with serve("--no-worker", app="clock.py", CLOCK=clock) as server, work(app="clock.py", CLOCK=clock, SLOW=3) as one:
        ready(server)
        for key in range(3):
            for number in range(2):
                assert server.post("/events/slow", run_event(event, key, number)).status == 200
        wait_until(lambda: len(lines(ledger, "start")) == 3)
        set_clock(jump, server, one)
        with work(app="clock.py", CLOCK=clock, SLOW=0) as two:  # would take over from the first if it thought it dead
            wait_until(lambda: "the clock says" in two.log)
            for key in range(3, 6):
                assert server.post("/events/slow", run_event(event, key, 0)).status == 200
            wait_until(lambda: statuses(database_url) == {"delivered": 9})
        assert "restarting" not in one.log
    assert strictly_ordered(ledger)
    assert Counter(ended(ledger)).most_common(1)[0][1] == 1
    assert len(ended(ledger)) == len(lines(ledger, "start")) == 9


def test_a_retry_is_made_when_its_time_has_come_by_the_clock_that_was_set(
    serve, ledger, clock, set_clock, event, database_url
):
    if database_url.startswith("postgresql"):
        pytest.skip("the server's own clock says when a retry is due, and cannot be set here")
    with serve(app="clock.py", CLOCK=clock, RETRY="3600") as server:
        ready(server)
        assert server.post("/events/fails-first", run_event(event, 1, 0)).status == 200
        wait_until(lambda: "failed, retry in" in server.log)
        clock.write_text(str(2 * 3600))
        wait_until(lambda: ended(ledger) == ["1-0"])


def test_a_clock_that_is_set_back_makes_no_wait_longer_than_its_schedule(
    serve, work, ledger, clock, set_clock, event, database_url
):
    with serve("--no-worker", app="clock.py", CLOCK=clock) as server, work(app="clock.py", CLOCK=clock, RETRY=2) as one:
        ready(server)
        wait_until(lambda: one.health("readiness") == 200)
        for key in range(3):
            assert server.post("/events/fails-first", run_event(event, key, 0)).status == 200
        wait_until(lambda: one.log.count("failed, retry in") == 3)
        set_clock(-DAY, server, one)
        wait_until(lambda: statuses(database_url) == {"delivered": 3})
    assert sorted(ended(ledger)) == ["0-0", "1-0", "2-0"]


def test_nor_for_workers_that_start_afterwards(serve, work, ledger, clock, event, database_url):
    with serve("--no-worker", app="clock.py", CLOCK=clock) as server:
        ready(server)
        clock.write_text(str(DAY))
        with work(app="clock.py", CLOCK=clock, RETRY=2) as one:
            wait_until(lambda: "the clock says" in one.log)
            assert server.post("/events/fails-first", run_event(event, 1, 0)).status == 200
            wait_until(lambda: retries_that_wait(database_url))
            one.process.kill()
        clock.write_text("0")
        with work(app="clock.py", CLOCK=clock, RETRY=2):
            wait_until(lambda: statuses(database_url) == {"delivered": 1})
    assert ended(ledger) == ["1-0"]


def retries_that_wait(database_url):
    """How many deliveries wait for a further attempt."""
    database = Database(database_url)
    with database.read() as connection:
        waiting = "SELECT count(*) FROM deliveries WHERE stage = 'later' AND attempts = 1"
        number = connection.exec_driver_sql(waiting).scalar()
    database.dispose()
    return number


def test_who_died_before_its_clock_was_set_back_is_found_dead(
    serve, work, ledger, clock, set_clock, event, database_url
):
    with serve("--no-worker", app="clock.py", CLOCK=clock) as server:
        ready(server)
        clock.write_text(str(DAY))
        with work(app="clock.py", CLOCK=clock, SLOW=3600) as lost:
            assert server.post("/events/slow", run_event(event, 1, 0)).status == 200
            wait_until(lambda: lines(ledger, "start"))
            lost.process.kill()
        clock.write_text("0")
        with work(app="clock.py", CLOCK=clock, SLOW=0):
            wait_until(lambda: statuses(database_url) == {"delivered": 1})


def test_who_dies_after_its_clock_was_set_is_found_dead(serve, work, ledger, clock, set_clock, event, database_url):
    with serve("--no-worker") as server, work(app="clock.py", CLOCK=clock, SLOW=3600) as lost:
        ready(server)
        wait_until(lambda: lost.health("readiness") == 200)
        set_clock(600, lost)
        assert server.post("/events/slow", run_event(event, 1, 0)).status == 200
        wait_until(lambda: lines(ledger, "start"))
        lost.process.kill()
        lost.process.wait()
        began = time.monotonic()
        clock.write_text("600")
        with work(app="clock.py", CLOCK=clock, SLOW=0) as other:
            wait_until(lambda: "the clock says" in other.log)
            wait_until(lambda: ended(ledger) == ["1-0"])
        assert time.monotonic() - began < 60  # and not ten minutes later
