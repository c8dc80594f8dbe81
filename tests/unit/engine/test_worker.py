"""What a worker does besides its work, which is tested on both stores in tests/conformance."""

import asyncio
import logging

import pytest

from extension_kit.engine.app import Engine
from extension_kit.engine.sqlite_connector import SqliteConnector
from tests.conftest import wait_until
from tests.workers import working


class Broken(SqliteConnector):
    """Fails at what cannot fail, once."""

    failures = 1

    async def execute_query_one_async(self, query, **arguments):
        if Broken.failures:
            Broken.failures -= 1
            raise RuntimeError("a mistake")
        return await super().execute_query_one_async(query, **arguments)


class BrokenEngine(Engine):
    def connector(self):
        return Broken(self.database.path)


def test_a_worker_that_fails_begins_anew(engine, add, caplog, monkeypatch):
    monkeypatch.setattr("extension_kit.engine.worker._RESTART_PAUSE", 0.01)
    monkeypatch.setattr(Broken, "failures", 2)
    attempted = []
    add((1, None, None))
    with working(BrokenEngine(engine.database), attempted.append):
        wait_until(lambda: attempted)
    failures = [record for record in caplog.records if record.name == "extension_kit.engine"]
    assert [record.levelno for record in failures] == [logging.ERROR] * 2
    assert "a mistake" in caplog.text


def test_a_reaper_that_fails_has_the_worker_begin_anew(engine, add, caplog, monkeypatch):
    monkeypatch.setattr("extension_kit.engine.worker._RESTART_PAUSE", 0.01)
    attempted = []

    class BrokenReaper:
        def __init__(self, *arguments):
            self.run = self.fail if not caplog.records else asyncio.Event().wait

        async def fail(self):
            raise RuntimeError("a mistake")

    monkeypatch.setattr("extension_kit.engine.worker.Reaper", BrokenReaper)
    with working(engine, attempted.append):
        wait_until(lambda: caplog.records)
        monkeypatch.undo()
        add((1, None, None))
        wait_until(lambda: attempted)
    assert "failed, restarting" in caplog.text


def test_a_worker_that_fails_can_be_stopped(engine, caplog, monkeypatch):
    monkeypatch.setattr("extension_kit.engine.worker._RESTART_PAUSE", 3600)
    monkeypatch.setattr(Broken, "failures", 1000)
    with working(BrokenEngine(engine.database), print):
        wait_until(lambda: caplog.records)


def test_a_worker_without_tables_says_what_to_do_and_waits_for_them(engine, add, caplog):
    with engine.database.transaction() as connection:
        connection.exec_driver_sql("DROP TABLE procrastinate_workers")
    attempted = []
    add((1, None, None))
    with working(engine, attempted.append):
        wait_until(lambda: "extension-kit db upgrade" in caplog.text)
        with engine.database.transaction() as connection:
            engine.create_tables(connection)
        wait_until(lambda: attempted)


@pytest.mark.parametrize(("level", "expected"), [(logging.INFO, set()), (logging.DEBUG, {"DEBUG"})])
def test_what_procrastinate_tells_of_every_job_is_for_debugging(engine, add, caplog, monkeypatch, level, expected):
    library = logging.getLogger("procrastinate")
    monkeypatch.setattr(library, "level", logging.NOTSET)
    library.manager._clear_cache()
    caplog.set_level(level)
    add((1, None, None))
    attempted = []
    with working(engine, attempted.append):
        wait_until(lambda: engine.stats().waiting == engine.stats().doing == 0)
    told = [record for record in caplog.records if record.name.startswith("procrastinate")]
    assert {record.levelname for record in told} == expected
    assert any("Starting job" in record.getMessage() for record in told) == bool(expected)
    library.setLevel(logging.NOTSET)


def test_workers_of_one_process_do_not_disturb_each_other(engine, add):
    attempted = []
    with working(engine, attempted.append, name="one"):
        with working(engine, attempted.append, name="two"):
            add(*((number, None, None) for number in range(10)))
            wait_until(lambda: len(attempted) == 10)
        add((10, None, None))
        wait_until(lambda: len(attempted) == 11)
    assert sorted(attempted) == list(range(11))
