"""Adding jobs; what becomes of them is in tests/conformance."""

import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime

import pytest

from extension_kit.engine.app import Engine, Held, Job
from extension_kit.engine.postgresql_connector import PostgresqlConnector
from extension_kit.engine.sqlite_connector import SqliteConnector
from extension_kit.engine.store import Turn
from extension_kit.engine.times import to_microseconds
from extension_kit.store.database import Database

PAST, FUTURE = datetime(2026, 1, 1, tzinfo=UTC), datetime(2126, 1, 1, tzinfo=UTC)


def test_jobs_are_rows(add, connection):
    add(Job(1, "a", None), Job(2, None, PAST))
    add((3, "a'\"\n\u2603", FUTURE))
    columns = "id, queue_name, task_name, args, lock, scheduled_at, status, waits_for"
    assert connection.execute(f"SELECT {columns} FROM procrastinate_jobs").fetchall() == [
        (1, "deliveries", "deliver", '{"delivery_ref":1}', "a", None, "todo", None),
        (2, "deliveries", "deliver", '{"delivery_ref":2}', None, to_microseconds(PAST), "todo", None),
        (3, "deliveries", "deliver", '{"delivery_ref":3}', "a'\"\n\u2603", to_microseconds(FUTURE), "todo", "time"),
    ]


def test_listeners_are_told_of_jobs_until_they_are_gone(engine, add):
    told = []

    def first():
        told.append("first")

    with engine.telling(first), engine.telling(lambda: told.append("second")):
        add((1, None, None), (2, None, None))
        add()
    add((3, None, None))
    assert told == ["first", "second"]


def test_rebuilding_adds_any_number_of_jobs_and_counts_them(engine, add, connection):
    add((9, "a", None))
    with engine.database.transaction() as own:
        assert engine.rebuild(own, (Job(number, None, None) for number in range(2500))) == 2500
    refs = connection.execute("SELECT json_extract(args, '$.delivery_ref') FROM procrastinate_jobs ORDER BY id")
    assert [ref for (ref,) in refs] == list(range(2500))
    with engine.database.transaction() as own:
        assert engine.rebuild(own, []) == 0
    assert engine.stats().waiting == 0


class TestEndingAJob:
    @pytest.fixture
    def held(self, add, jobs):
        """The first of two jobs of one lock, which a worker does."""
        add((1, "a", None), (2, "a", None))
        (worker,) = jobs.execute("register_worker")
        job = jobs.fetch_job(["deliveries"], worker["worker_id"], Turn())
        return Held(job["id"], worker["worker_id"])

    def test_it_leaves_the_queue_with_the_transaction(self, engine, held, connection):
        with engine.holding(held), engine.database.transaction() as own:
            engine.end_held(own)
        assert held.is_over
        assert connection.execute("SELECT id, status, waits_for FROM procrastinate_jobs").fetchall() == [
            (2, "todo", None)
        ]

    def test_it_stays_without_the_transaction(self, engine, held, connection):
        with suppress(KeyError), engine.holding(held), engine.database.transaction() as own:
            engine.end_held(own)
            raise KeyError
        assert connection.execute("SELECT count(*) FROM procrastinate_jobs").fetchone() == (2,)

    def test_that_of_another_worker_stays(self, engine, held, connection):
        other = Held(held.job_id, held.worker_id + 1)
        with engine.holding(other), engine.database.transaction() as own:
            engine.end_held(own)
        assert not other.is_over
        assert connection.execute("SELECT count(*) FROM procrastinate_jobs").fetchone() == (2,)


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("sqlite:////tmp/x.db", SqliteConnector),
        ("postgresql://kit:s%40cret@db.example:6543/kit?sslmode=require", PostgresqlConnector),
    ],
)
def test_every_store_has_its_connector(url, kind):
    assert type(Engine(Database(url)).connector()) is kind


def test_who_only_adds_jobs_imports_nothing_of_procrastinate():
    program = "import sys, extension_kit.engine.app; sys.exit('procrastinate' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == 0
