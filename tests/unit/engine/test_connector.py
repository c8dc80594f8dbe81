"""What procrastinate's worker gets from the connector, over a SQLite file that loses answers when a test says so."""

import asyncio
import logging
from datetime import UTC, datetime, timedelta

import pytest
from procrastinate.exceptions import ConnectorException, UniqueViolation
from procrastinate.jobs import Status
from procrastinate.manager import JobManager

from extension_kit.engine.connector import WorkerConnector
from extension_kit.engine.outages import Outages
from extension_kit.engine.sqlite_connector import SqliteConnector

QUEUES = ["deliveries"]


class Unreliable(SqliteConnector):
    """Does what it is asked for; with ``lose`` set, the answer is lost. ``during`` is called while it is asked."""

    lose = 0
    refuse = 0
    during = staticmethod(lambda: None)

    async def _ask(self, question, *arguments, **more):
        answer = await super()._ask(question, *arguments, **more)
        during, self.during = self.during, lambda: None
        during()
        if self.lose:
            self.lose -= 1
            raise ConnectorException("the answer was lost")
        return answer

    async def fetch_job(self, queues, worker_id, turn):
        if self.refuse:
            self.refuse -= 1
            raise UniqueViolation(constraint_name="procrastinate_jobs_lock_idx_v1", queueing_lock=None)
        return await super().fetch_job(queues, worker_id, turn)


@pytest.fixture
def working(engine, run, monkeypatch):
    """Run a coroutine function with a registered worker's connector, its store, manager and number."""
    monkeypatch.setattr("extension_kit.engine.outages._FIRST_PAUSE", 0.001)

    def working(use):
        async def work():
            store = Unreliable(engine.database.path)
            connector = WorkerConnector(store, Outages("sqlite"), 8)
            manager = JobManager(connector)
            await connector.open_async()
            try:
                return await use(connector, store, manager, await manager.register_worker())
            finally:
                await connector.close_async()

        return run(work())

    return working


@pytest.fixture
def statuses(connection):
    return lambda: [status for (status,) in connection.execute("SELECT status FROM procrastinate_jobs")]


class TestLostAnswers:
    def test_a_job_that_was_started_is_not_forgotten(self, working, add):
        async def use(connector, store, manager, worker_id):
            add((1, "a", None), (2, "b", None))
            store.lose = 1
            jobs = [await manager.fetch_job(QUEUES, worker_id) for _ in range(3)]
            return [job and job.task_kwargs["delivery_ref"] for job in jobs]

        assert working(use) == [1, 2, None]

    def test_a_job_that_runs_is_not_started_again_because_of_it(self, working, add):
        async def use(connector, store, manager, worker_id):
            add((1, "a", None))
            job = await manager.fetch_job(QUEUES, worker_id)
            store.lose = 2
            assert await manager.fetch_job(QUEUES, worker_id) is None
            assert connector.has_jobs
            await manager.finish_job(job, Status.SUCCEEDED, delete_job=True)
            assert not connector.has_jobs
            assert await manager.fetch_job(QUEUES, worker_id) is None

        working(use)

    def test_a_job_whose_end_was_taken_back_is_started_again(self, working, add, connection):
        async def use(connector, store, manager, worker_id):
            add((1, "a", None))
            job = await manager.fetch_job(QUEUES, worker_id)
            rows = connection.execute("SELECT * FROM procrastinate_jobs").fetchall()
            await manager.finish_job(job, Status.SUCCEEDED, delete_job=True)
            connection.execute(f"INSERT INTO procrastinate_jobs VALUES ({', '.join('?' * len(rows[0]))})", rows[0])
            assert await manager.fetch_job(QUEUES, worker_id) is None
            store.lose = 1  # as when the server has crashed
            assert (await manager.fetch_job(QUEUES, worker_id)).id == job.id

        working(use)

    def test_an_end_is_recorded_once(self, working, add, statuses, caplog):
        async def use(connector, store, manager, worker_id):
            add((1, "a", None))
            job = await manager.fetch_job(QUEUES, worker_id)
            store.lose = 1
            await manager.finish_job(job, Status.SUCCEEDED, delete_job=True)

        working(use)
        assert statuses() == []


class TestOwnJobs:
    def test_a_job_that_others_have_taken_over_is_left_alone(self, working, add, connection, statuses, caplog):
        async def use(connector, store, manager, worker_id):
            add((1, "a", None), (2, "b", None))
            first, second = [await manager.fetch_job(QUEUES, worker_id) for _ in range(2)]
            connection.execute("UPDATE procrastinate_jobs SET worker_id = 99")
            await manager.finish_job(first, Status.SUCCEEDED, delete_job=True)
            await manager.retry_job(second)
            assert not connector.has_jobs

        working(use)
        assert statuses() == ["doing", "doing"]
        assert [one.levelno for one in caplog.records if one.name == "extension_kit.engine"] == [logging.WARNING] * 2

    def test_a_worker_learns_that_it_was_thought_dead(self, working, connection):
        async def use(connector, store, manager, worker_id):
            await manager.update_heartbeat(worker_id)
            assert not connector.disowned.is_set()
            connection.execute("DELETE FROM procrastinate_workers")
            await manager.update_heartbeat(worker_id)
            assert connector.disowned.is_set()

        working(use)


class TestWakingUp:
    async def hears(self, manager):
        """Listen in the background; returns an event which is set by every notification, and the task."""
        heard = asyncio.Event()

        async def hear(*, channel, notification):
            assert notification["type"] == "job_inserted"
            heard.set()

        listening = asyncio.create_task(manager.listen_for_jobs(on_notification=hear, queues=QUEUES))
        await heard.wait()
        await asyncio.sleep(0)
        heard.clear()
        return heard, listening

    def test_what_is_told_while_a_job_is_asked_for_is_not_missed(self, working, add):
        async def use(connector, store, manager, worker_id):
            def add_job():
                add((1, "a", None))
                connector.wake()

            store.during = add_job
            return await manager.fetch_job(QUEUES, worker_id)

        assert working(use).task_kwargs == {"delivery_ref": 1}

    def test_it_is_looked_again_where_somebody_else_was_quicker(self, working, add):
        async def use(connector, store, manager, worker_id):
            add((1, "a", None))
            store.refuse = 2
            return await manager.fetch_job(QUEUES, worker_id)

        assert working(use).task_kwargs == {"delivery_ref": 1}

    @pytest.mark.parametrize("end", ["finish", "retry"])
    def test_the_end_of_a_job_is_told(self, working, add, end):
        async def use(connector, store, manager, worker_id):
            add((1, "a", None))
            job = await manager.fetch_job(QUEUES, worker_id)
            store.listen_notify = quiet
            heard, listening = await self.hears(manager)
            if end == "finish":
                await manager.finish_job(job, Status.SUCCEEDED, delete_job=True)
            else:
                await manager.retry_job(job)
            await heard.wait()
            listening.cancel()

        async def quiet(on_notification, channels):
            await on_notification(channel=channels[0], payload="{}")
            await asyncio.Event().wait()

        working(use)

    def test_the_next_due_time_is_told(self, working, add):
        async def use(connector, store, manager, worker_id):
            store.listen_notify = quiet
            heard, listening = await self.hears(manager)
            due = datetime.now(UTC) + timedelta(seconds=0.1)
            add((1, "a", due), (2, "b", due + timedelta(hours=1)))
            assert await manager.fetch_job(QUEUES, worker_id) is None
            await heard.wait()
            assert datetime.now(UTC) >= due - timedelta(seconds=0.05)
            while (job := await manager.fetch_job(QUEUES, worker_id)) is None:
                await heard.wait()
            listening.cancel()
            return job.task_kwargs

        async def quiet(on_notification, channels):
            await on_notification(channel=channels[0], payload="{}")
            await asyncio.Event().wait()

        assert working(use) == {"delivery_ref": 1}

    def test_a_long_line_is_looked_through_without_holding_up_others(self, working, add):
        async def use(connector, store, manager, worker_id):
            add(*((number, "a", None) for number in range(500)), (999, "b", None))
            await manager.fetch_job(QUEUES, worker_id)
            looking = asyncio.create_task(manager.fetch_job(QUEUES, worker_id))
            turns = 0
            while not looking.done():
                await asyncio.sleep(0)
                turns += 1
            assert turns >= 4
            return (await looking).task_kwargs

        assert working(use) == {"delivery_ref": 999}
