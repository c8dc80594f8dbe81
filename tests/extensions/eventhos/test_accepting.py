"""Events under load: every accepted one is in the log once, whatever happens to the server."""

import http.client
import json
import os
import signal
import sqlite3
import threading
from collections import Counter
from contextlib import closing, contextmanager, suppress

import pytest
from sqlalchemy import func, select

from extensions.eventhos.tables import executions, received
from tests.extensions.eventhos.making import encryption
from tests.extensions.eventhos.served import serving
from tests.support.waiting import wait_until

SENDERS = 12
KILLS = 3


class Senders:
    """Clients that send numbered events with idempotency keys, each until it is accepted, to the present server."""

    def __init__(self, world):
        self._world = world
        self._lock = threading.Lock()
        self._next = 0
        self._ending = threading.Event()
        self.server = None
        self.accepted = []
        self.refused = Counter()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(SENDERS)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exception):
        self._ending.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()

    def _run(self):
        while not self._ending.is_set():
            with self._lock:
                number, self._next = self._next, self._next + 1
            while not self._is_accepted(number):
                if self._ending.wait(0.02):
                    return
            self.accepted.append(number)

    def _is_accepted(self, number):
        if (server := self.server) is None:
            return False
        headers = {"access-key": self._world.key, "Idempotency-Key": f"n-{number}", "Content-Type": "application/json"}
        path = f"/event/send?event-identifier={self._world.identifier}"
        with suppress(OSError, http.client.HTTPException):
            status = server.request("POST", path, json.dumps({"n": number}), headers).status
            if status == 200:
                return True
            self.refused[status] += 1
        return False


@pytest.fixture
def url(database):
    return database.url.render_as_string(hide_password=False).replace("+psycopg", "")


def logged(world):
    """The numbers of the events in the log, in its order, and of their executions."""
    decrypt = encryption(world.api).decrypt
    with world.api.database.read() as connection:
        requests = connection.execute(select(received.c.request).order_by(received.c.id)).scalars().all()
        begun = executions.c.started_at.is_not(None)
        number = connection.execute(select(func.count()).select_from(executions).where(begun)).scalar_one()
    return [decrypt(request)["body"]["n"] for request in requests], number


def test_kill_9_of_the_server(world, url, tmp_path):
    world.add_contract("http://localhost/")
    with Senders(world) as senders:
        for number in range(KILLS):
            with serving(url, tmp_path / f"{number}.log", "--no-worker") as server:
                senders.server, before = server, len(senders.accepted)
                wait_until(lambda before=before: len(senders.accepted) > before + 100)
                for process in (server.process.pid, *server.children("serve")):
                    with suppress(ProcessLookupError):
                        os.kill(process, signal.SIGKILL)
        with serving(url, tmp_path / "last.log", "--no-worker") as server:
            senders.server, before = server, len(senders.accepted)
            wait_until(lambda: len(senders.accepted) > before + 100)
            senders.__exit__()
    found, begun = logged(world)
    assert set(senders.accepted) <= set(found)
    assert len(set(found)) == len(found) == begun
    assert len(senders.accepted) == len(set(senders.accepted))


def test_a_server_that_is_stopped_answers_what_it_has_accepted(world, url, tmp_path):
    world.add_contract("http://localhost/")
    with serving(url, tmp_path / "server.log", "--no-worker") as server, Senders(world) as senders:
        senders.server = server
        wait_until(lambda: len(senders.accepted) > 100)
        assert server.stop() == 128 + signal.SIGTERM
        senders.server = None
    found, _ = logged(world)
    assert set(senders.accepted) <= set(found)
    assert len(set(found)) == len(found)
    assert set(senders.refused) <= {503}
    assert "Traceback" not in server.log


def test_a_database_that_was_away_loses_nothing(world, url, tmp_path, hold_writes):
    world.add_contract("http://localhost/")
    with serving(url, tmp_path / "server.log", "--no-worker", EXTENSION_STORE_TIMEOUT=1) as server:
        with Senders(world) as senders:
            senders.server = server
            wait_until(lambda: len(senders.accepted) > 50)
            with hold_writes():
                wait_until(lambda: senders.refused[503] > SENDERS)
                wait_until(lambda: server.health("readiness") == 503)
            before = len(senders.accepted)
            wait_until(lambda: len(senders.accepted) > before + 50)
        wait_until(lambda: server.health("readiness") == 200)
    found, begun = logged(world)
    assert set(senders.accepted) <= set(found)
    assert len(set(found)) == len(found) == begun
    assert set(senders.refused) == {503}


@pytest.fixture
def hold_writes(database):
    """Hold up all other writers to the database: ``with hold_writes(): ...``."""

    @contextmanager
    def hold():
        if database.is_sqlite:
            with closing(sqlite3.connect(database.path, isolation_level=None)) as connection:
                connection.execute("BEGIN IMMEDIATE")
                yield
                connection.execute("ROLLBACK")
            return
        with database.engine.connect() as connection:
            connection.exec_driver_sql("SET idle_in_transaction_session_timeout = 0")
            connection.exec_driver_sql("LOCK TABLE eventhos_received, events IN ACCESS EXCLUSIVE MODE")
            yield
            connection.rollback()

    return hold
