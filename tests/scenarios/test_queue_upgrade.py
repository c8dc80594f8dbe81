"""Deliveries of a release that kept a queue of jobs beside them: upgraded in place, none is lost or made twice."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, text

from extension_kit.deliveries.queries import Filter
from extension_kit.deliveries.replay import replay
from extension_kit.deliveries.tables import attempts, deliveries
from extension_kit.deliveries.waiting import retry_now
from extension_kit.senders import Outcome
from extension_kit.store.migrate import upgrade
from tests.support.databases import opened, postgresql_schema, postgresql_server
from tests.support.old_queue import ADDITIONS, LIBRARY, add_job, make_old_queue, remains, run_script
from tests.support.release_0_1 import insert_row, version_0002
from tests.support.used import postgresql_database
from tests.support.waiting import wait_until
from tests.support.workers import working

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
# Listener and series of deliveries, and what had become of them when the workers were stopped.
OLD = {
    1: ("page", "a", "failed, due"),
    2: ("log", None, "failed, not due"),
    3: ("page", "a", "new"),
    4: ("log", None, "new"),
    5: ("page", "a", "new"),
    6: ("log", None, "in progress"),
    7: ("page", "b", "dead"),
    8: ("page", "b", "new"),
    9: ("page", "b", "delivered"),
    10: ("log", None, "discarded"),
    11: ("page", "c", "failed, not due"),
    12: ("page", "c", "new"),
    13: ("page", "d", "in progress"),
    14: ("page", "d", "new"),
    15: ("log", None, "dead"),
}
AT_ONCE, LATER, DEAD = {1, 3, 4, 5, 6, 8, 13, 14}, {2, 11, 12}, {7, 15}


@pytest.fixture(scope="module")
def postgresql_url():
    with postgresql_server() as server, postgresql_database(server) as url:
        yield url


@pytest.fixture
def schema(postgresql_url):
    """The URL of an empty schema."""
    with postgresql_schema(postgresql_url) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    """The URL of an empty database."""
    return f"sqlite:///{tmp_path}/old.db" if request.param == "sqlite" else request.getfixturevalue("schema")


def time_in(connection, time):
    return time.replace(tzinfo=None).isoformat(" ") if connection.dialect.name == "sqlite" else time


def write(connection, *, with_jobs):
    """Write the rows of deliveries, of their attempts and, if there were any, of their jobs."""
    if with_jobs:
        make_old_queue(connection)
    for ref, (function, series, fate) in OLD.items():
        listener = f"oncall.{function}@/x"
        lock = series and f"{listener}|{series}"
        is_waiting = fate not in ("delivered", "dead", "discarded")
        was_tried = fate not in ("new", "discarded")
        now = time_in(connection, NOW - DAY)
        due_at = time_in(connection, NOW + DAY) if fate == "failed, not due" else now
        event = {"ref": ref, "source": "steadybit", "event_id": str(ref), "name": "a.b", "received_at": now}
        insert_row(connection, "events", {**event, "body": b"{}"})
        row = {"ref": ref, "event_ref": ref, "listener": listener, "lock": lock, "series": series}
        row |= {"count": ref if series else None, "status": "waiting" if is_waiting else fate}
        row |= {"attempts": int(was_tried), "earlier": 0, "created_at": now, "due_at": due_at}
        row |= {"begun_at": now if was_tried else None, "ended_at": None if is_waiting else now}
        insert_row(connection, "deliveries", {**row, "error": "not now" if fate.startswith("failed") else None})
        if was_tried:
            result = {"in progress": None, "delivered": "delivered", "dead": "refused"}.get(fate, "failed")
            attempt = {"delivery_ref": ref, "number": 1, "started_at": now, "ended_at": now if result else None}
            insert_row(connection, "attempts", {**attempt, "result": result})
        if with_jobs and is_waiting:
            add_job(connection, ref, lock, listener)


@pytest.mark.parametrize("with_jobs", [True, False])
def test_what_waits_is_made_once_and_in_order_and_the_old_queue_is_gone(url, with_jobs):
    with version_0002(url) as connection:
        write(connection, with_jobs=with_jobs)
        assert bool(remains(connection)) == with_jobs
    with opened(url) as database:
        upgrade(database)
        with database.read() as connection:
            assert remains(connection) == set()
        made = []

        def make(due):
            made.append((due.ref, due.number))
            return Outcome("delivered")

        def all_made(refs):
            with database.read() as connection:
                left = connection.execute(select(deliveries.c.ref).where(deliveries.c.status == "waiting")).scalars()
                return not refs & set(left)

        with working(database, make):
            wait_until(lambda: all_made(AT_ONCE))
            assert {ref for ref, _ in made} == AT_ONCE
            assert list(retry_now(database, Filter())) == [(3, 0)]
            assert list(replay(database, Filter())) == [2]
            wait_until(lambda: all_made(LATER | DEAD))
        was_tried = {ref: int(fate not in ("new", "discarded")) for ref, (*_, fate) in OLD.items()}
        assert sorted(made) == [(ref, was_tried[ref] + 1) for ref in sorted(AT_ONCE | LATER | DEAD)]
        for series in "acd":
            of_series = [ref for ref, _ in made if OLD[ref][1] == series]
            assert of_series == sorted(of_series)
        expected = dict.fromkeys(OLD, "delivered") | {10: "discarded"}
        with database.read() as connection:
            rows = connection.execute(select(deliveries.c.ref, deliveries.c.status)).all()
            results = select(attempts.c.delivery_ref, attempts.c.result, attempts.c.ended_at.is_not(None))
            tried = connection.execute(results.order_by(attempts.c.ref)).all()
        assert dict(map(tuple, rows)) == expected
        assert [row for row in tried if row[0] in (6, 13)] == [
            (6, "lost", True),
            (13, "lost", True),
            *((ref, "delivered", True) for ref, _ in made if ref in (6, 13)),
        ]
        assert len(tried) == len(made) + sum(was_tried.values())


def test_the_tables_of_another_application_are_left_alone(schema):
    with version_0002(schema) as connection:
        run_script(connection, LIBRARY)
        before = remains(connection)
    with opened(schema) as database, database.read() as connection:
        assert before
        assert remains(connection) == before


def test_the_jobs_of_another_application_in_the_same_tables_are_left_alone(schema):
    with version_0002(schema) as connection:
        run_script(connection, LIBRARY + ADDITIONS)
        add_job(connection, 1, None, "oncall.page@/x")
        add_job(connection, 2, None, "theirs", queue="theirs")
        functions = "SELECT proname FROM pg_proc WHERE proname LIKE 'extension\\_kit\\_%'"
        functions += " AND pronamespace = current_schema()::regnamespace"
        assert connection.execute(text(functions)).all()
    with opened(schema) as database, database.transaction() as connection:
        assert connection.execute(text("SELECT queue_name FROM procrastinate_jobs")).scalars().all() == ["theirs"]
        add_job(connection, 3, None, "theirs", queue="theirs")
        assert connection.execute(text("DELETE FROM procrastinate_jobs")).rowcount == 2
        assert connection.execute(text(functions)).all() == []
