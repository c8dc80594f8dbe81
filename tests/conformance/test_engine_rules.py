"""Which job is next, and what it costs to find it: by the rule of procrastinate's own functions, at any size."""

import asyncio
import random
import sqlite3
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from procrastinate import PsycopgConnector
from procrastinate.exceptions import ConnectorException
from procrastinate.jobs import Job as LibraryJob
from procrastinate.jobs import Status
from procrastinate.manager import JobManager
from procrastinate.schema import SchemaManager

from extension_kit.engine.app import Engine, Job
from extension_kit.engine.sqlite_jobs import SqliteJobs
from extension_kit.engine.store import Turn
from extension_kit.store.database import Database
from tests.databases import postgresql_database

HOUR = timedelta(hours=1)
SHOWN = ("id", "status", "queue", "priority", "lock", "task_kwargs", "attempts", "abort_requested", "worker_id")


@pytest.fixture
def engine(database_url):
    database = Database(database_url)
    database.create()
    engine = Engine(database)
    with database.transaction() as connection:
        engine.create_tables(connection)
    yield engine
    database.dispose()


class Reference:
    """Procrastinate as it is, with its own tables and functions in PostgreSQL."""

    def __init__(self, url):
        self.connector = PsycopgConnector(conninfo=url, min_size=1, max_size=2)
        self.manager = JobManager(self.connector)

    async def fetch(self, queues, worker_id):
        job = await self.manager.fetch_job(queues, worker_id)
        return job and job.id


class Ours:
    def __init__(self, engine):
        self.connector = engine.connector()
        self.manager = JobManager(self.connector)

    async def fetch(self, queues, worker_id):
        while True:
            row = await self.connector.fetch_job(queues, worker_id, Turn())
            if row["id"] is not None or row["wait"] != 0:
                return row["id"]


class Walk:
    """The same random steps for two queues, which must not differ after any of them."""

    def __init__(self, seed, queues):
        self._random = random.Random(seed)
        self._queues = queues
        frequent = [self.defer, self.fetch]
        self._steps = [*frequent * 5, *[self.finish, self.retry, self.cancel] * 3, self.lose_worker, self.abort]
        self._last_job = 0

    async def walk(self, steps):
        self._workers = [await self.both("register_worker") for _ in range(2)]
        for _ in range(steps):
            await self._random.choice(self._steps)()
        jobs = [await self.jobs(queue) for queue in self._queues]
        assert jobs[0] == jobs[1]
        assert {job[1] for job in jobs[0]} > {"todo", "doing"}
        for method in ("list_queues_async", "list_tasks_async", "list_locks_async"):
            assert await self.both(method)
        assert await self.both("list_locks_async", queue="q", task="task", status="todo", lock="b")
        assert await self.both("get_job_status_async", jobs[0][0][0])
        assert await self.both("check_connection_async")

    async def jobs(self, queue):
        return [[getattr(job, name) for name in SHOWN] for job in await queue.manager.list_jobs_async()]

    async def both(self, method, *arguments, **more):
        async def ask(queue):
            try:
                return await getattr(queue.manager, method)(*arguments, **more)
            except ConnectorException:
                return "refused"

        first, second = [await ask(queue) for queue in self._queues]
        assert first == second, (method, arguments, more)
        return first

    async def when(self):
        """A time; one that lies ahead has come when the next step is made, or is never reached."""
        moment = datetime.now(UTC)
        return self._random.choice([None, None, moment - HOUR, moment + HOUR, moment + timedelta(milliseconds=5)])

    async def pass_by(self, moment):
        while moment is not None and timedelta() <= moment - datetime.now(UTC) < HOUR / 2:
            await asyncio.sleep(0.005)

    async def defer(self):
        choose = self._random.choice
        moment = await self.when()
        self._last_job += 1
        job = LibraryJob(
            queue=choose("qqqr"), lock=choose([None, "a", "b", "b"]), queueing_lock=None, task_name="task",
            task_kwargs={"ref": self._last_job}, scheduled_at=moment, priority=choose([0, 0, 0, 0, 5, -5]),
        )  # fmt: skip
        for queue in self._queues:
            assert (await queue.manager.defer_job_async(job)).id == self._last_job
        await self.pass_by(moment)

    async def fetch(self):
        queues, worker_id = self._random.choice([None, ["q"], ["r"], ["q", "r"]]), self._random.choice(self._workers)
        first, second = [await queue.fetch(queues, worker_id) for queue in self._queues]
        assert first == second

    async def some_job(self, *statuses):
        jobs = [job for job in await self.jobs(self._queues[0]) if job[1] in statuses]
        return self._random.choice(jobs)[0] if jobs else None

    async def finish(self):
        if job_id := await self.some_job("doing", "doing", "todo"):
            status = self._random.choice([Status.SUCCEEDED, Status.FAILED, Status.ABORTED])
            await self.both("finish_job_by_id_async", job_id, status, delete_job=self._random.random() < 0.7)

    async def retry(self):
        if job_id := await self.some_job("doing", "failed", "todo", "cancelled"):
            moment = await self.when() or datetime.now(UTC)
            changes = {"lock": "c", "priority": 1, "queue": "r"}
            chosen = self._random.choice([[], [], [], ["lock"], ["priority"], ["queue"], ["lock", "priority"]])
            await self.both("retry_job_by_id_async", job_id, moment, **{name: changes[name] for name in chosen})
            await self.pass_by(moment)

    async def cancel(self):
        if job_id := await self.some_job("todo", "doing"):
            await self.both("cancel_job_by_id_async", job_id, delete_job=self._random.random() < 0.7)

    async def abort(self):
        if job_id := await self.some_job("todo", "doing"):
            await self.both("cancel_job_by_id_async", job_id, abort=True)
            to_abort = [set(await queue.manager.list_jobs_to_abort_async()) for queue in self._queues]
            assert to_abort[0] == to_abort[1]

    async def lose_worker(self):
        worker_id = self._workers.pop(self._random.randrange(2))
        if self._random.random() < 0.5:
            await self.both("unregister_worker", worker_id)
        else:
            await self.both("update_heartbeat", worker_id)
            pruned = [await queue.manager.prune_stalled_workers(0) for queue in self._queues]
            assert set(pruned[0]) == set(pruned[1]) == {worker_id, *self._workers}
            self._workers = []
        while len(self._workers) < 2:
            self._workers.append(await self.both("register_worker"))
        stalled = [await queue.manager.get_stalled_jobs() for queue in self._queues]
        assert {job.id for job in stalled[0]} == {job.id for job in stalled[1]}


@pytest.mark.parametrize("seed", range(2))
def test_every_step_has_the_same_result_as_with_procrastinates_own_functions(engine, postgresql_server, seed):
    async def walk(url):
        queues = [Reference(url), Ours(engine)]
        for queue in queues:
            await queue.connector.open_async()
        try:
            await Walk(seed, queues).walk(400)
        finally:
            for queue in queues:
                await queue.connector.close_async()

    with postgresql_database(postgresql_server) as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(SchemaManager.get_schema())
        asyncio.run(walk(url))


LATER = datetime.now(UTC) + HOUR
BACKLOGS = {
    "many locks": lambda place: (f"lock-{place}", None),
    "no locks": lambda place: (None, None),
    "one lock": lambda place: ("lock", None),
    "one lock, its first job being done": lambda place: ("held", None),
    "one lock, its first job not due": lambda place: ("lock", LATER if place == 0 else None),
    "none due": lambda place: (f"lock-{place}", LATER),
}


class CostOnSqlite:
    """Counts the steps of SQLite's machine."""

    def __init__(self, engine):
        self._connection = sqlite3.connect(engine.database.path, isolation_level=None)
        self._jobs = SqliteJobs(self._connection)
        self._steps = 0

    def of_a_job(self):
        self._connection.set_progress_handler(self._count, 1)
        self._steps = 0
        job = self._jobs.fetch_job(["deliveries"], 1, Turn())
        assert self._jobs.finish_own_job(job["id"], "succeeded", True, 1)
        return self._steps

    def _count(self):
        self._steps += 1

    def close(self):
        self._connection.close()


class CostOnPostgresql:
    """Counts the pages that PostgreSQL looks at."""

    def __init__(self, engine):
        url = engine.database.url.set(drivername="postgresql").render_as_string(hide_password=False)
        self._connection = psycopg.connect(url, autocommit=True)

    def of_a_job(self):
        pages = self._pages("SELECT extension_kit_fetch_job(NULL, 1, '', '{}')")
        return pages + self._pages(
            "SELECT procrastinate_finish_job_v1(id, 'succeeded', true) FROM procrastinate_jobs WHERE status = 'doing'"
        )

    def _pages(self, query):
        [plan] = self._connection.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {query}").fetchone()[0]
        return plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"]

    def close(self):
        self._connection.close()


@pytest.mark.parametrize("backlog", BACKLOGS.values(), ids=BACKLOGS)
def test_starting_and_ending_a_job_costs_the_same_however_many_wait(engine, backlog):
    """What the database does is counted, so that it does not matter what else the machine is doing."""
    cost = (CostOnSqlite if engine.database.is_sqlite else CostOnPostgresql)(engine)

    def measure():
        with engine.database.transaction() as connection:
            engine.defer(connection, [Job(number, f"new-{number}", None) for number in range(5)])
        return min(cost.of_a_job() for _ in range(5))

    async def look():
        """Look for a job, so that others are found to have to wait, and noted."""
        queue = Ours(engine)
        await queue.connector.open_async()
        await queue.manager.register_worker()
        job_id = await queue.fetch(["deliveries"], 1)
        if job_id and backlog(0)[0] == "held":
            assert await queue.fetch(["deliveries"], 1) is None
        elif job_id:
            await queue.manager.retry_job_by_id_async(job_id, datetime.now(UTC))
        await queue.connector.close_async()

    try:
        costs = []
        for size in (10, 3000):
            with engine.database.transaction() as connection:
                engine.rebuild(connection, [Job(place, *backlog(place)) for place in range(size)])
            asyncio.run(look())
            costs.append(measure())
    finally:
        cost.close()
    assert costs[1] < 2 * costs[0]
