"""The row of a worker: while it runs, whatever the database does, and not longer."""

import os
import threading
from datetime import UTC, datetime

import pytest

from extension_kit.deliveries.worker_rows import OpenCircuit, known_workers
from extension_kit.engine import presence as module
from extension_kit.store.database import Database
from tests.support.waiting import wait_until
from tests.support.workers import Attempts, working

CIRCUITS = [OpenCircuit("https://example.com", datetime.now(UTC))]


@pytest.fixture(autouse=True)
def often(monkeypatch):
    monkeypatch.setattr(module, "EVERY", 0.05)


def workers(database):
    with database.read() as connection:
        return known_workers(connection)


def test_a_row_is_written_again_and_again_and_removed_in_the_end(stored):
    database, hold = stored.database, {"1": threading.Event()}
    with working(database, Attempts(hold=hold), threads=4, open_circuits=lambda: CIRCUITS):
        (first,) = wait_until(lambda: workers(database))
        assert (first.pid, first.threads, first.busy, list(first.open_circuits)) == (os.getpid(), 4, 0, CIRCUITS)
        stored.add("1")
        (later,) = wait_until(lambda: [each for each in workers(database) if each.busy])
        assert (later.key, later.started_at, later.busy) == (first.key, first.started_at, 1)
        assert later.seen_at > first.seen_at
        hold["1"].set()
        wait_until(lambda: not workers(database)[0].busy)
    assert workers(database) == []


def test_every_worker_has_its_row(stored):
    with working(stored.database, Attempts(), name="one"), working(stored.database, Attempts(), name="two"):
        wait_until(lambda: len(workers(stored.database)) == 2)
    assert workers(stored.database) == []


def rename(database, old, new):
    with database.transaction() as connection:
        connection.exec_driver_sql(f"ALTER TABLE {old} RENAME TO {new}")


def test_a_database_that_cannot_be_written_is_ignored(stored, caplog):
    database = stored.database
    caplog.set_level("DEBUG", "extension_kit.engine")
    rename(database, "workers", "away")
    try:
        with working(database, Attempts()):
            wait_until(lambda: "Cannot write the row of this worker" in caplog.text)
            stored.add("1")
            wait_until(lambda: set(stored.statuses().values()) == {"delivered"})
            rename(database, "away", "workers")
            wait_until(lambda: workers(database))
            rename(database, "workers", "away")
    finally:
        rename(database, "away", "workers")
    assert not [each for each in caplog.records if each.levelname in ("WARNING", "ERROR") and "row of" in each.message]


def test_a_mistake_of_the_kit_itself_stops_no_worker(stored, caplog):
    def fail():
        raise ValueError("a mistake")

    with working(stored.database, Attempts(), open_circuits=fail):
        wait_until(lambda: "ValueError: a mistake" in caplog.text)
        stored.add("1")
        wait_until(lambda: set(stored.statuses().values()) == {"delivered"})


def test_it_waits_for_a_database_that_hangs_no_longer_than_a_moment(stored_in_file, monkeypatch):
    monkeypatch.setattr(module, "_SHORT", 0.05)
    database = stored_in_file.database
    other = Database(database.url.render_as_string(hide_password=False), timeout=30.0)
    there = module.Presence(other, 4, lambda: 0, tuple)
    there.start()
    wait_until(lambda: workers(database))
    with database.transaction():
        there.stop()
    other.dispose()


def test_no_commit_of_a_file_waits_for_the_disk(stored_in_file):
    there = module.Presence(stored_in_file.database, 4, lambda: 0, tuple)
    assert not there._database.flush
    there.start()
    wait_until(lambda: workers(stored_in_file.database))
    there.stop()
    assert workers(stored_in_file.database) == []
