"""Changes while events are sent: a read-only database, keys of two servers, a deleted contract."""

import json
import threading
from contextlib import contextmanager

import psycopg
import pytest
from sqlalchemy import select, update

from extensions.eventhos.tables import actions
from tests.extensions.eventhos.api import CRYPTO_KEY
from tests.extensions.eventhos.making import ended
from tests.extensions.eventhos.served import serving
from tests.support.receivers import TIMEOUT, reply
from tests.support.waiting import wait_until

NEW_KEY = "the new secret of the tests that encrypts"


@pytest.fixture
def url(database):
    """URL of a database that several servers may use."""
    if database.url.get_backend_name() != "postgresql":
        pytest.skip("one SQLite file has one server, and tests of the kit make it read-only")
    return database.url.render_as_string(hide_password=False).replace("+psycopg", "")


def numbers(there):
    return [json.loads(request.body)["n"] for request in there.requests]


@contextmanager
def read_only(url):
    """Have all connections of a database refuse to write."""

    def set_to(value):
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("SET default_transaction_read_only = off")
            name = connection.info.dbname
            connection.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = {value}')
            others = "datname = current_database() AND pid <> pg_backend_pid()"
            connection.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}")

    set_to("on")
    try:
        yield
    finally:
        set_to("off")


def test_a_read_only_database_refuses_events_and_loses_none(url, world, receiver, tmp_path):
    there = receiver()
    world.add_contract(there.url("/", "127.0.0.1"))
    path, key = f"/event/send?event-identifier={world.identifier}", {"access-key": world.key}
    with serving(url, tmp_path / "log") as server:
        assert server.post(path, {"n": 1}, key).status == 200
        with read_only(url):
            refused = server.post(path, {"n": 2}, key)
            assert (refused.status, refused.json["code"]) == (503, 500204)
            assert "retry-after" in refused.headers
        wait_until(lambda: server.post(path, {"n": 3}, key).status == 200)
        wait_until(lambda: 3 in numbers(there))
        rows = ended(world, 2)
    assert sorted(numbers(there)) == [1, 3]
    assert [row["state"] for row in rows] == [["processed"]] * 2


def test_keys_are_rotated_in_two_servers_one_after_the_other(url, world, receiver, tmp_path):
    """The first server still encrypts with the old key, and the second one with the new one; both know both."""
    there = receiver()
    world.add_contract(there.url("/", "127.0.0.1"))
    path, key = f"/event/send?event-identifier={world.identifier}", {"access-key": world.key}
    with (
        serving(url, tmp_path / "1.log", EXTENSION_EVENTHOS_CRYPTO_KEY=f"{CRYPTO_KEY},{NEW_KEY}") as first,
        serving(url, tmp_path / "2.log", EXTENSION_EVENTHOS_CRYPTO_KEY=f"{NEW_KEY},{CRYPTO_KEY}") as second,
    ):
        for number in range(40):
            assert (first, second)[number % 2].post(path, {"n": number}, key).status == 200
        rows = ended(world, 40)
    assert sorted(numbers(there)) == [*range(40)]
    assert [row["state"] for row in rows] == [["processed"]] * 40


def test_a_contract_waits_for_a_key_that_the_worker_does_not_know(world, receiver, working, caplog):
    there = receiver()
    world.add_contract(there.url("/", "127.0.0.1"))

    def change(request):
        with world.api.database.transaction() as connection:
            before = connection.execute(select(actions.c.request)).scalar_one()
            connection.execute(update(actions).values(request=request))
        return before

    right = change(b"of another key")
    with working(world.api):
        world.send({"n": 1})
        wait_until(lambda: "was encrypted with another EXTENSION_EVENTHOS_CRYPTO_KEY" in caplog.text)
        assert world.log()[0]["state"] == [None]
        change(right)
        (row,) = ended(world, 1)
    assert row["state"] == ["processed"]
    assert numbers(there) == [1]


def test_a_contract_that_is_deleted_ends_its_call_and_makes_no_other(world, receiver, working):
    began, go = threading.Event(), threading.Event()

    def answer(request):
        if request.path == "/deleted":
            began.set()
            assert go.wait(TIMEOUT)
        return reply()

    there = receiver(answer=answer)
    contract = world.add_contract(there.url("/deleted", "127.0.0.1"), order=0, in_order=True)
    world.add_contract(there.url("/next", "127.0.0.1"), order=1)
    with working(world.api):
        world.send({"n": 1})
        assert began.wait(TIMEOUT)
        world.send({"n": 2})
        world.api.ask("DELETE", f"/contract/{contract}", status=201)
        world.send({"n": 3})
        go.set()
        rows = ended(world, 3)
    assert [row["state"] for row in rows] == [["processed"] * 2, ["error", "processed"], ["processed"]]
    assert sorted(request.path for request in there.requests) == ["/deleted", "/next", "/next", "/next"]
    failed = world.execution(world.executions(rows[1]["id"])[0]["detailId"])
    assert failed["response"]["statusText"] == "the contract or its action was deleted"
