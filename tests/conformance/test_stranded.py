"""Deliveries that wait while the queue has no job for them: found and made on both stores, each once, cheaply."""

import logging
import threading
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import insert, update

from extension_kit.deliveries.replay import rebuild
from extension_kit.deliveries.stranded import PATIENCE, take_up
from extension_kit.deliveries.tables import DELIVERED, WAITING, deliveries, events
from extension_kit.engine.app import Engine, Job
from extension_kit.store.database import Database
from extension_kit.store.migrate import upgrade
from tests.conformance.test_durable import ended, lines, ready, run_event
from tests.conformance.test_faults import statuses
from tests.conftest import wait_until

OVERDUE = datetime.now(UTC) - 2 * PATIENCE


@pytest.fixture
def engine(database_url):
    database = Database(database_url)
    engine = Engine(database)
    upgrade(database, engine.create_tables)
    yield engine
    database.dispose()


def add(engine, number, *, jobs=True, due_at=OVERDUE, status=WAITING, first=1):
    """Add so many deliveries of one event, with their jobs or without."""
    now = datetime.now(UTC)
    event = {"ref": first, "source": "test", "event_id": str(first), "name": "a.b", "body": b"{}", "received_at": now}
    refs = range(first, first + number)
    each = {"event_ref": first, "status": status, "created_at": due_at, "due_at": due_at}
    rows = [{**each, "ref": ref, "listener": f"listener-{ref}", "lock": None} for ref in refs]
    with engine.database.transaction() as connection:
        connection.execute(insert(events).values(event))
        connection.execute(insert(deliveries), rows)
        engine.defer(connection, [Job(ref, None, None, f"listener-{ref}") for ref in refs] if jobs else [])


def queued(engine):
    """The numbers of the deliveries that have jobs, as often as they have one."""
    with engine.database.read() as connection:
        ref = "json_extract(args, '$.delivery_ref')" if engine.database.is_sqlite else "(args->>'delivery_ref')::bigint"
        return sorted(connection.exec_driver_sql(f"SELECT {ref} FROM procrastinate_jobs").scalars())


class TestTakingUp:
    def test_what_has_no_job_gets_one_and_is_told_of_in_one_line(self, engine, caplog):
        add(engine, 3)
        add(engine, 20, jobs=False, first=10)
        with caplog.at_level(logging.INFO):
            assert take_up(engine.database, engine) == 20
            assert queued(engine) == [*range(1, 4), *range(10, 30)]
            assert take_up(engine.database, engine) == 0
        [record] = caplog.records
        assert record.getMessage().startswith("20 waiting deliveries had no job")
        assert "10, 11, 12" in record.getMessage()

    @pytest.mark.parametrize(
        "options",
        [
            lambda: {"due_at": datetime.now(UTC) + timedelta(hours=1)},
            lambda: {"due_at": datetime.now(UTC)},
            lambda: {"status": DELIVERED},
        ],
        ids=["due later", "due a moment ago", "ended"],
    )
    def test_others_are_left_alone(self, engine, caplog, options):
        add(engine, 3, jobs=False, **options())
        assert take_up(engine.database, engine) == 0
        assert queued(engine) == []

    def test_however_many_look_at_the_same_time_each_gets_one_job(self, engine):
        add(engine, 300, jobs=False)
        begin, taken = threading.Barrier(6), []

        def look():
            begin.wait(20)
            taken.append(take_up(engine.database, engine))

        def fill():
            begin.wait(20)
            with engine.database.transaction() as connection:
                rebuild(connection, engine)

        threads = [threading.Thread(target=target) for target in (*[look] * 5, fill)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert queued(engine) == [*range(1, 301)]
        assert sum(taken) in (0, 300)

    def test_at_rest_it_costs_nothing_however_many_rows_there_are(self, engine, monkeypatch):
        add(engine, 2000, status=DELIVERED)
        add(engine, 2000, due_at=datetime.now(UTC) + timedelta(hours=1), first=5000)
        monkeypatch.setattr(engine, "without_job", lambda *_: pytest.fail("the queue is looked through"))
        assert take_up(engine.database, engine) == 0


def test_a_worker_makes_what_has_lost_its_job(serve, work, ledger, event, database_url):
    with serve("--no-worker") as server:
        ready(server)
        for number in range(2):
            assert server.post("/events/plain", run_event(event, 1, number)).status == 200
        by_hand(database_url, "DELETE FROM procrastinate_jobs", overdue=True)
        with work() as worker:
            wait_until(lambda: ended(ledger) == ["1-0", "1-1"])
            wait_until(lambda: statuses(database_url) == {"delivered": 2})
            assert worker.log.count("waiting deliveries had no job") == 1


def test_an_attempt_whose_beginning_was_taken_back_is_not_lost_nor_made_again(serve, ledger, event, database_url):
    """As a crash of the database does with what it had not written to the disk."""
    with serve(SLOW=1) as server:
        ready(server)
        assert server.post("/events/slow", run_event(event, 1, 0)).status == 200
        assert server.post("/events/slow", run_event(event, 1, 1)).status == 200
        wait_until(lambda: lines(ledger, "start"))
        by_hand(database_url, "DELETE FROM attempts", "UPDATE deliveries SET attempts = 0, begun_at = NULL")
        wait_until(lambda: ended(ledger) == ["1-0", "1-1"])
        wait_until(lambda: statuses(database_url) == {"delivered": 2})
    assert len(lines(ledger, "start")) == 2


def by_hand(database_url, *statements, overdue=False):
    """Change the tables beside the processes that use them."""
    database = Database(database_url)
    with database.transaction() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
        if overdue:
            connection.execute(update(deliveries).values(due_at=OVERDUE))
    database.dispose()
