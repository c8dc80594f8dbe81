"""Deliveries that wait in no worker's sight, after a change by hand or a crash: found and made on both stores."""

import logging
import threading

import pytest
from sqlalchemy import select, update

from extension_kit.deliveries.outbox import Outbox
from extension_kit.deliveries.requeue import requeue
from extension_kit.deliveries.stranded import requeue_stranded
from extension_kit.deliveries.tables import BEHIND, READY, deliveries
from extension_kit.store.database import Database
from extension_kit.store.migrate import upgrade
from tests.support.durable import statuses, unfiled_at
from tests.support.filing import filed_at
from tests.support.ledgers import ended, lines, run_event
from tests.support.recording import entry
from tests.support.servers import ready
from tests.support.waiting import wait_until
from tests.support.workers import Attempts, working


@pytest.fixture
def database(database_url):
    database = Database(database_url)
    upgrade(database)
    yield database
    database.dispose()


def add(database, number, lock=None, first=1):
    """Record so many events with one listener."""
    names = map(str, range(first, first + number))
    Outbox(database).record([entry(name, "listener", series=lock) for name in names])


def stages(database):
    with database.read() as connection:
        return connection.execute(select(deliveries.c.stage).order_by(deliveries.c.ref)).scalars().all()


def set_stage(database, stage):
    with database.transaction() as connection:
        connection.execute(update(deliveries).values(stage=stage))


class TestTakingUp:
    def test_what_has_no_stage_is_made_ready_and_told_of_in_one_line(self, database, caplog):
        add(database, 20)
        set_stage(database, None)
        add(database, 3, first=100)
        with caplog.at_level(logging.INFO):
            assert requeue_stranded(database) == 20
            assert stages(database) == [READY] * 23
            assert requeue_stranded(database) == 0
        [record] = caplog.records
        assert record.getMessage().startswith("20 waiting deliveries were in no worker's sight")

    def test_the_first_of_a_lock_is_called_up_if_it_is_behind_no_other(self, database):
        add(database, 3, lock="a")
        set_stage(database, BEHIND)
        assert requeue_stranded(database) == 1
        assert stages(database) == [READY, BEHIND, BEHIND]

    def test_those_that_wait_for_others_are_left_alone(self, database):
        add(database, 3, lock="a")
        assert requeue_stranded(database) == 0
        assert stages(database) == [READY, BEHIND, BEHIND]

    def test_one_that_came_back_before_a_claimed_one_is_left_alone(self, database):
        """As after a replay: it is called up when the other has ended."""
        go = threading.Event()
        attempts = Attempts(hold={"2": go})
        add(database, 2, lock="a")
        with working(database, attempts):
            wait_until(lambda: "2" in attempts.started)
            with database.transaction() as connection:
                first = update(deliveries).where(deliveries.c.ref == 1)
                connection.execute(first.values(status="waiting", stage=BEHIND, ended_at=None))
            assert requeue_stranded(database) == 0
            go.set()
            wait_until(lambda: attempts.ended == ["1", "2", "1"])

    def test_however_many_look_at_the_same_time_each_is_made_ready_once(self, database):
        add(database, 300)
        set_stage(database, None)
        begin, taken = threading.Barrier(6), []

        def look():
            begin.wait(20)
            taken.append(requeue_stranded(database))

        def put_anew():
            begin.wait(20)
            with database.transaction() as connection:
                requeue(connection)

        threads = [threading.Thread(target=target) for target in (*[look] * 5, put_anew)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert stages(database) == [READY] * 300
        assert sum(taken) in (0, 300)


def test_a_worker_makes_what_was_in_no_sight(serve, work, ledger, event, database_url):
    with serve("--no-worker") as server:
        ready(server)
        for number in range(2):
            assert server.post("/events/plain", run_event(event, 1, number)).status == 200
        assert filed_at(database_url) == 2
        by_hand(database_url, "UPDATE deliveries SET stage = NULL")
        with work() as worker:
            wait_until(lambda: ended(ledger) == ["1-0", "1-1"])
            wait_until(lambda: statuses(database_url) == {"delivered": 2})
            assert worker.log.count("waiting deliveries were in no worker's sight") == 1


def test_an_attempt_whose_beginning_was_taken_back_is_not_lost(serve, ledger, event, database_url):
    """As a crash of the database does with what it had not written to the disk."""
    with serve(SLOW=1) as server:
        ready(server)
        assert server.post("/events/slow", run_event(event, 1, 0)).status == 200
        assert server.post("/events/slow", run_event(event, 1, 1)).status == 200
        wait_until(lambda: unfiled_at(database_url) == 0 and lines(ledger, "start"))
        by_hand(database_url, f"UPDATE deliveries SET stage = '{READY}', claimed_at = NULL")
        wait_until(lambda: statuses(database_url) == {"delivered": 2})
    assert list(dict.fromkeys(ended(ledger))) == ["1-0", "1-1"]


def by_hand(database_url, *statements):
    """Change the tables beside the processes that use them."""
    database = Database(database_url)
    with database.transaction() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    database.dispose()
