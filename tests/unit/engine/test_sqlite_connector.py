import asyncio
import sqlite3
import threading

import pytest
from procrastinate import sql
from procrastinate.exceptions import AppNotOpen, ConnectorException, NoResult
from procrastinate.jobs import Job
from procrastinate.manager import JobManager

from extension_kit.engine.sqlite_connector import SqliteConnector
from tests.conftest import wait_until

JOB = Job(queue="deliveries", lock=None, queueing_lock=None, task_name="deliver", task_kwargs={"delivery_ref": 1})


@pytest.fixture
def opened(engine, run):
    """Run a coroutine function with an open connector."""

    def opened(use):
        async def with_connector():
            connector = SqliteConnector(engine.database.path)
            await connector.open_async()
            try:
                return await use(connector)
            finally:
                await connector.close_async()

        return run(with_connector())

    return opened


def test_procrastinates_manager_works_with_it(opened):
    async def use(connector):
        manager = JobManager(connector)
        job = await manager.defer_job_async(JOB)
        worker_id = await manager.register_worker()
        assert (await manager.fetch_job(["deliveries"], worker_id)).task_kwargs == JOB.task_kwargs
        assert await manager.fetch_job(["deliveries"], worker_id) is None
        await manager.retry_job(job)
        assert [job.attempts for job in await manager.list_jobs_async(queue="deliveries")] == [1]

    opened(use)


def test_its_methods_can_be_called_without_a_loop(engine):
    connector = SqliteConnector(engine.database.path)
    assert connector.get_sync_connector() is connector
    asyncio.run(connector.open_async())
    assert JobManager(connector).check_connection()
    asyncio.run(connector.close_async())


def test_a_job_with_a_queueing_lock_that_waits_is_refused(opened):
    async def use(connector):
        manager = JobManager(connector)
        await manager.defer_job_async(JOB.evolve(queueing_lock="one"))
        with pytest.raises(ConnectorException):
            await manager.defer_job_async(JOB.evolve(queueing_lock="one"))

    opened(use)


def test_a_missing_row_is_no_result(opened):
    async def use(connector):
        with pytest.raises(NoResult):
            await connector.execute_query_one_async(sql.queries["get_job_status"], job_id=1)

    opened(use)


def test_what_is_not_open_says_so(engine, run):
    async def use():
        connector = SqliteConnector(engine.database.path)
        with pytest.raises(AppNotOpen):
            await connector.beat(1)
        await connector.close_async()

    run(use())


def test_a_file_that_is_not_there_is_a_connectors_error(tmp_path, run):
    async def use():
        connector = SqliteConnector(tmp_path / "missing.db")
        with pytest.raises(ConnectorException) as caught:
            await connector.open_async()
        assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
        with pytest.raises(ConnectorException):
            await connector.listen_notify(None, [])
        await connector.close_async()

    run(use())


def test_while_others_write_the_loop_goes_on_and_the_order_is_kept(opened, engine):
    writer = sqlite3.connect(engine.database.path, isolation_level=None, check_same_thread=False)
    writer.execute("BEGIN IMMEDIATE")

    async def use(connector):
        first = asyncio.create_task(connector.execute_query_one_async(sql.queries["register_worker"]))
        second = asyncio.create_task(connector.execute_query_one_async(sql.queries["register_worker"]))
        for _ in range(10):
            await asyncio.sleep(0.001)
        assert not first.done()
        writer.execute("COMMIT")
        return [(await first)["worker_id"], (await second)["worker_id"]]

    assert opened(use) == [1, 2]
    writer.close()


def test_what_waits_for_others_and_is_no_longer_wanted_is_not_disturbed(opened, engine):
    writer = sqlite3.connect(engine.database.path, isolation_level=None, check_same_thread=False)
    writer.execute("BEGIN IMMEDIATE")

    async def use(connector):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await connector.execute_query_one_async(sql.queries["register_worker"])
        following = asyncio.create_task(connector.execute_query_one_async(sql.queries["register_worker"]))
        await asyncio.sleep(0)
        writer.execute("COMMIT")
        return (await following)["worker_id"]

    assert opened(use) == 2
    writer.close()


class TestListening:
    def listen(self, opened, until):
        """Listen until a coroutine function, which gets the connector and a counter, returns."""

        async def use(connector):
            heard = []

            async def hear(*, channel, payload):
                heard.append((channel, payload))

            listening = asyncio.create_task(connector.listen_notify(hear, ["channel"]))
            await until(connector, heard)
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
            return heard

        return opened(use)

    async def reaches(self, heard, count):
        while len(heard) < count:
            await asyncio.sleep(0.001)

    def test_it_tells_at_once_and_whenever_somebody_has_written(self, opened, add):
        async def until(connector, heard):
            await self.reaches(heard, 1)
            for number in range(3):
                add((number, None, None))
                await self.reaches(heard, 2 + number)

        heard = self.listen(opened, until)
        assert set(heard) == {("channel", '{"type": "job_inserted", "job_id": 0}')}

    def test_it_does_not_tell_when_nobody_has(self, opened):
        async def until(connector, heard):
            await self.reaches(heard, 1)
            for _ in range(20):
                await asyncio.sleep(0.005)  # in which it looks several times

        assert len(self.listen(opened, until)) == 1

    def test_it_is_awake_when_jobs_are_expected(self, opened, add, monkeypatch):
        monkeypatch.setattr("extension_kit.engine.sqlite_connector._LONGEST", 3600.0)
        monkeypatch.setattr("extension_kit.engine.sqlite_connector._AFTER_NEWS", 3600.0)

        async def until(connector, heard):
            await self.reaches(heard, 1)
            await asyncio.sleep(0)
            add((1, None, None))
            connector.expect_jobs()
            await self.reaches(heard, 2)

        self.listen(opened, until)

    def test_to_expect_jobs_before_listening_does_no_harm(self, opened):
        async def use(connector):
            connector.expect_jobs()

        opened(use)


def test_it_leaves_no_thread_behind(opened):
    before = threading.active_count()

    async def use(connector):
        await connector.beat(1)

    opened(use)
    wait_until(lambda: threading.active_count() == before)
