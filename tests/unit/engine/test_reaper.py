import logging

import pytest
from procrastinate.manager import JobManager

from extension_kit.engine.outages import Outages
from extension_kit.engine.reaper import Reaper
from extension_kit.engine.sqlite_connector import SqliteConnector
from extension_kit.engine.store import Turn

STALLED_AFTER = 30.0


@pytest.fixture
def scene(engine, run, add, connection):
    """Run a coroutine function with a reaper, a function that makes workers silent, and the store.

    Two workers have a job each, of the locks ``a`` and ``b``; another job waits behind the first.
    """

    def scene(play):
        async def prepare():
            store = SqliteConnector(engine.database.path)
            await store.open_async()
            manager = JobManager(store)
            add((1, "a", None), (2, "b", None), (3, "a", None))
            workers = [await manager.register_worker() for _ in range(2)]
            for worker in workers:
                await store.fetch_job(None, worker, Turn())

            def silence(worker, seconds):
                connection.execute(
                    "UPDATE procrastinate_workers SET last_heartbeat = last_heartbeat - ? WHERE id = ?",
                    [seconds * 1_000_000, workers[worker]],
                )

            reaper = Reaper(manager, store, Outages("sqlite"), STALLED_AFTER)
            try:
                await play(reaper, silence, store, workers)
            finally:
                await store.close_async()

        run(prepare())
        return connection.execute("SELECT id, status, attempts FROM procrastinate_jobs ORDER BY id").fetchall()

    return scene


NOTHING = [(1, "doing", 0), (2, "doing", 0), (3, "todo", 0)]


def test_a_worker_that_is_silent_at_three_looks_is_dead_and_its_jobs_keep_their_places(scene, caplog):
    async def play(reaper, silence, store, workers):
        silence(0, STALLED_AFTER / 2 + 1)
        for _ in range(3):
            await reaper.look()
        assert (await store.fetch_job(None, workers[0], Turn()))["id"] is None
        assert (await store.fetch_job(None, workers[1], Turn()))["id"] == 1

    assert scene(play) == [(1, "doing", 1), (2, "doing", 0), (3, "todo", 0)]
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.WARNING, "Took over 1 deliveries of dead workers")
    ]


def test_two_looks_are_too_few(scene):
    async def play(reaper, silence, store, workers):
        silence(0, 1_000_000)
        for _ in range(2):
            await reaper.look()

    assert scene(play) == NOTHING


def test_a_short_silence_means_nothing(scene):
    async def play(reaper, silence, store, workers):
        silence(0, STALLED_AFTER / 2 - 5)
        for _ in range(5):
            await reaper.look()

    assert scene(play) == NOTHING


def test_a_sign_of_life_between_looks_counts_as_when_the_clock_was_set(scene):
    async def play(reaper, silence, store, workers):
        for _ in range(3):
            for worker in range(2):
                silence(worker, 86400)
            await reaper.look()
            await reaper.look()
            for worker in workers:
                assert await store.beat(worker)
            await reaper.look()

    assert scene(play) == NOTHING


def test_a_job_without_a_worker_is_taken_at_once(scene):
    async def play(reaper, silence, store, workers):
        await JobManager(store).unregister_worker(workers[1])
        await reaper.look()

    assert scene(play) == [(1, "doing", 0), (2, "todo", 1), (3, "todo", 0)]
