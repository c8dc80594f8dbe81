"""The tables on SQLite, seen by those who change them by hand; tests/conformance has the rules, on both stores."""

import sqlite3

import pytest

from extension_kit.engine.store import Turn


def notes(connection):
    return dict(connection.execute("SELECT id, waits_for FROM procrastinate_jobs"))


@pytest.fixture
def line(engine, add, jobs):
    """Three jobs of a lock, of which two are noted to wait for it, and a worker without work."""
    add((1, "a", None), (2, "a", None), (3, "a", None))
    [worker] = jobs.execute("register_worker")
    jobs.fetch_job(None, worker["worker_id"], Turn())
    jobs.fetch_job(None, worker["worker_id"], Turn())
    return worker["worker_id"]


def test_creating_what_is_there_changes_nothing(engine, add, connection):
    add((1, "a", None))
    before = connection.execute("SELECT * FROM sqlite_master").fetchall()
    with engine.database.transaction() as other:
        engine.create_tables(other)
    assert connection.execute("SELECT * FROM sqlite_master").fetchall() == before
    assert notes(connection) == {1: None}


def test_jobs_behind_another_are_noted(line, connection):
    assert notes(connection) == {1: None, 2: "lock", 3: "lock"}


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM procrastinate_jobs WHERE id = 1",
        "UPDATE procrastinate_jobs SET status = 'failed' WHERE id = 1",
        "UPDATE procrastinate_jobs SET status = 'todo', lock = 'b' WHERE id = 1",
        "UPDATE procrastinate_jobs SET status = 'todo', priority = -1 WHERE id = 1",
    ],
)
def test_whoever_takes_the_first_job_away_makes_the_next_one_the_first(line, connection, jobs, statement):
    connection.execute(statement)
    assert notes(connection)[2] is None
    assert notes(connection)[3] == "lock"
    expected = 1 if "lock = 'b'" in statement else 2
    assert jobs.fetch_job(["deliveries"], line, Turn())["args"] == {"delivery_ref": expected}


@pytest.mark.parametrize("number", [2, 3])
def test_taking_one_away_from_the_middle_or_the_end_leaves_the_first_alone(line, connection, number):
    connection.execute("DELETE FROM procrastinate_jobs WHERE id = ?", [number])
    assert notes(connection)[1] is None
    assert connection.execute("SELECT status FROM procrastinate_jobs WHERE id = 1").fetchone() == ("doing",)


def test_two_jobs_of_a_lock_cannot_be_done_at_once_whatever_anybody_tries(line, connection):
    with pytest.raises(sqlite3.IntegrityError):
        connection.execute("UPDATE procrastinate_jobs SET status = 'doing' WHERE id = 2")


def test_a_number_is_never_given_twice(line, add, connection):
    connection.execute("DELETE FROM procrastinate_jobs WHERE id = 3")
    add((4, "a", None))
    assert max(notes(connection)) == 4
