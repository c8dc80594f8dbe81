"""What is special to SQLite; that its answers are those of procrastinate's functions is in tests/conformance."""

import sqlite3
import threading
from datetime import UTC, datetime, timedelta
from typing import ClassVar

import pytest
from procrastinate.exceptions import ConnectorException

from extension_kit.engine.sqlite_jobs import Busy, SqliteJobs
from extension_kit.engine.store import Turn
from extension_kit.engine.times import now
from extension_kit.store import sqlite

HOUR = timedelta(hours=1)


@pytest.fixture
def worker_id(jobs):
    return jobs.execute("register_worker")[0]["worker_id"]


def fetch(jobs, worker_id):
    return jobs.fetch_job(["deliveries"], worker_id, Turn())


class TestFetching:
    def test_without_a_job_the_time_until_the_next_is_told(self, jobs, worker_id, add):
        assert fetch(jobs, worker_id) == {"id": None, "wait": None}
        add((1, None, datetime.now(UTC) + HOUR), (2, None, datetime.now(UTC) + 2 * HOUR))
        row = fetch(jobs, worker_id)
        assert row["id"] is None
        assert 0 < row["wait"] <= HOUR.total_seconds()

    def test_a_job_is_told_in_pythons_terms(self, jobs, worker_id, add):
        due = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)
        add((7, "a", due))
        row = fetch(jobs, worker_id)
        assert row["args"] == {"delivery_ref": 7}
        assert row["scheduled_at"] == due
        assert (row["status"], row["worker_id"], row["attempts"], row["lock"]) == ("doing", worker_id, 0, "a")

    def test_a_job_whose_time_has_come_is_found(self, jobs, worker_id, add, connection):
        add((1, None, datetime.now(UTC) + HOUR))
        assert fetch(jobs, worker_id)["id"] is None
        connection.execute("UPDATE procrastinate_jobs SET scheduled_at = ?", [now() - 1])
        assert fetch(jobs, worker_id)["id"] == 1

    def test_a_job_that_came_due_does_not_start_when_the_clock_is_set_back(self, jobs, worker_id, add, connection):
        add((1, None, datetime.now(UTC) + HOUR))
        connection.execute("UPDATE procrastinate_jobs SET waits_for = NULL")
        assert fetch(jobs, worker_id)["id"] is None
        assert fetch(jobs, worker_id)["wait"] > 0

    def test_a_worker_that_is_not_known_gets_nothing(self, jobs, worker_id, add):
        add((1, None, None))
        assert fetch(jobs, worker_id + 1) == {"id": None, "wait": None}
        jobs.execute("unregister_worker", worker_id=worker_id)
        assert fetch(jobs, worker_id) == {"id": None, "wait": None}

    def test_only_so_many_jobs_are_looked_at_before_others_may_write(self, jobs, worker_id, add):
        add(*((number, "a", None) for number in range(250)), (999, "b", None))
        assert fetch(jobs, worker_id)["args"] == {"delivery_ref": 0}
        looks = [fetch(jobs, worker_id) for _ in range(3)]
        assert [row["id"] and row["args"] for row in looks] == [None, None, {"delivery_ref": 999}]
        assert [row.get("wait") for row in looks[:2]] == [0, 0]


class TestOwning:
    CHANGES: ClassVar = {"retry_at": datetime(2026, 1, 1, tzinfo=UTC), "new_priority": None, "new_queue_name": None}

    @pytest.fixture
    def job_id(self, jobs, worker_id, add):
        add((1, "a", None))
        return fetch(jobs, worker_id)["id"]

    def status(self, connection):
        return [status for (status,) in connection.execute("SELECT status FROM procrastinate_jobs")]

    def test_the_owner_ends_a_job_once(self, jobs, worker_id, job_id, connection):
        assert jobs.finish_own_job(job_id, "succeeded", True, worker_id)
        assert self.status(connection) == []
        assert not jobs.finish_own_job(job_id, "succeeded", True, worker_id)

    def test_the_owner_puts_a_job_off_once(self, jobs, worker_id, job_id, connection):
        assert jobs.retry_own_job(job_id, worker_id, **self.CHANGES, new_lock="b")
        assert connection.execute("SELECT lock, attempts FROM procrastinate_jobs").fetchall() == [("b", 1)]
        assert not jobs.retry_own_job(job_id, worker_id, **self.CHANGES, new_lock="c")

    def test_nobody_else_does(self, jobs, worker_id, job_id, connection):
        assert not jobs.finish_own_job(job_id, "succeeded", True, worker_id + 1)
        assert not jobs.retry_own_job(job_id, worker_id + 1, **self.CHANGES, new_lock=None)
        assert self.status(connection) == ["doing"]

    def test_nor_does_an_owner_that_others_have_given_up(self, jobs, worker_id, job_id, connection):
        connection.execute("UPDATE procrastinate_workers SET last_heartbeat = 0")
        assert jobs.take_over([worker_id], 10.0) == 1
        assert self.status(connection) == ["todo"]
        assert not jobs.finish_own_job(job_id, "succeeded", True, worker_id)
        other = jobs.execute("register_worker")[0]["worker_id"]
        assert fetch(jobs, other)["attempts"] == 1
        assert not jobs.retry_own_job(job_id, worker_id, **self.CHANGES, new_lock=None)
        assert self.status(connection) == ["doing"]

    def test_a_worker_that_has_given_a_sign_of_life_is_not_given_up(self, jobs, worker_id, job_id, connection):
        assert jobs.take_over([worker_id], 10.0) == 0
        assert jobs.finish_own_job(job_id, "succeeded", True, worker_id)

    def test_a_worker_that_is_not_named_is_not_given_up(self, jobs, worker_id, job_id, connection):
        connection.execute("UPDATE procrastinate_workers SET last_heartbeat = 0")
        assert jobs.take_over([], 10.0) == 0
        assert jobs.execute("update_heartbeat", worker_id=worker_id)


class TestChanging:
    def test_a_job_that_is_not_there_cannot_be_ended_or_put_off(self, jobs):
        for name, arguments in (
            ("finish_job", {"status": "succeeded", "delete_job": True}),
            ("retry_job", {**TestOwning.CHANGES, "new_lock": None}),
        ):
            with pytest.raises(ConnectorException, match="no job 5"):
                jobs.execute(name, job_id=5, **arguments)

    def test_a_job_does_not_end_in_a_state_that_is_no_end(self, jobs, add):
        add((1, None, None))
        with pytest.raises(ConnectorException, match="doing"):
            jobs.execute("finish_job", job_id=1, status="doing", delete_job=False)

    def test_an_error_leaves_nothing_behind(self, jobs, connection, monkeypatch):
        monkeypatch.setattr(
            "extension_kit.engine.sqlite_queries.UNREGISTER", "DELETE FROM no_such_table WHERE :worker_id"
        )
        worker_id = jobs.execute("register_worker")[0]["worker_id"]
        with pytest.raises(sqlite3.OperationalError, match="no_such_table"):
            jobs.execute("unregister_worker", worker_id=worker_id)
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("COMMIT")
        assert jobs.execute("update_heartbeat", worker_id=worker_id) == [{"id": worker_id}]


class TestBesideOtherWriters:
    @pytest.fixture
    def writer(self, engine):
        writer = sqlite3.connect(engine.database.path, isolation_level=None)
        writer.execute("BEGIN IMMEDIATE")
        yield writer
        writer.close()

    def test_what_writes_is_refused_at_once(self, jobs, worker_id, add, writer):
        with pytest.raises(Busy):
            jobs.execute("update_heartbeat", worker_id=worker_id)

    def test_what_reads_is_answered(self, jobs, worker_id, writer):
        assert fetch(jobs, worker_id) == {"id": None, "wait": None}
        assert jobs.execute("count_jobs_status") == []

    def test_who_is_patient_waits_and_is_impatient_again_afterwards(self, jobs, worker_id, writer, monkeypatch):
        monkeypatch.setattr("extension_kit.store.sqlite.WAIT", 0.05)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            jobs.patiently(SqliteJobs.execute, "update_heartbeat", worker_id=worker_id)
        with pytest.raises(Busy):
            jobs.execute("update_heartbeat", worker_id=worker_id)
        writer.execute("COMMIT")
        assert jobs.patiently(SqliteJobs.execute, "update_heartbeat", worker_id=worker_id)


class TestTurns:
    """Threads of one process that write to the file take turns instead of finding it locked."""

    def test_a_thread_that_writes_for_a_moment_is_waited_for(self, engine):
        path = engine.database.path
        jobs = SqliteJobs(sqlite.connect(path), sqlite.turn(path))
        with engine.database.transaction():
            with pytest.raises(Busy):
                jobs.execute("register_worker")
            waiting = threading.Thread(target=jobs.patiently, args=(SqliteJobs.execute, "register_worker"))
            waiting.start()
        waiting.join(30)
        assert jobs.execute("register_worker") == [{"worker_id": 2}]
        with engine.database.transaction():
            pass
        jobs.close()

    def test_one_file_has_one_turn_and_another_file_another(self, engine, tmp_path):
        path = engine.database.path
        turn = sqlite.turn(path)
        assert sqlite.turn(path) is turn
        assert sqlite.turn(tmp_path / "other.db") is not turn
