"""The extension as users serve it: real schedulers, real processes, both stores, and a durable listener."""

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple

import pytest
from apscheduler.events import EVENT_ALL
from apscheduler.executors.pool import ThreadPoolExecutor as Executor
from apscheduler.jobstores.memory import MemoryJobStore
from apscheduler.schedulers.background import BackgroundScheduler
from sqlalchemy import delete, select

from extension_kit.apscheduler import CronEyeListener
from extension_kit.errors import ConfigurationError
from extension_kit.runtime.service import Service
from extension_kit.settings.kit import Settings
from extension_kit.store.database import Database
from extensions.croneye import extension
from extensions.croneye.codes import LOST, OVERDUE, Code
from extensions.croneye.tables import TABLES, jobs, log, metadata, runs, schedulers
from tests.extensions.croneye.api import EMAIL, EXTENSION, PASSWORD, TOKEN, VARIABLES, Api
from tests.support.databases import postgresql_server
from tests.support.ledgers import Since
from tests.support.paths import KIT
from tests.support.servers import Served, free_port, run_server
from tests.support.used import postgresql_database
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[3]
HANDLERS = str(Path(__file__).with_name("listens.py"))


@contextmanager
def database_of(store, directory):
    """The URL of a database with all tables."""
    if store == "sqlite":
        yield f"sqlite:///{directory}/extension.db"
        return
    with postgresql_server() as server, postgresql_database(server, [TABLES]) as url:
        yield url


@contextmanager
def serving(url, directory, *arguments, log_file, **environment):
    environment = {"EXTENSION_DATABASE_URL": url, "LEDGER": directory / "ledger", **VARIABLES, **environment}
    command = [KIT, "serve", EXTENSION, HANDLERS, *arguments]
    with run_server(command, directory / log_file, **environment) as server:
        wait_until(lambda: server.health("readiness") == 200)
        yield server


@pytest.fixture
def ledger(tmp_path):
    path = tmp_path / "ledger"
    path.touch()
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def serve(request, ledger, tmp_path):
    """Serve the extension and a listener, again and again with the same database."""
    numbers = itertools.count()
    with database_of(request.param, tmp_path) as url:

        def start(*arguments, **environment):
            return serving(url, tmp_path, *arguments, log_file=f"server-{next(numbers)}.log", **environment)

        start.url = url
        yield start


class Shared(NamedTuple):
    server: Served
    database: Database
    ledger: Path


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def shared(request, tmp_path_factory):
    """A server with two web processes and a worker, for the tests that leave it as it is."""
    directory = tmp_path_factory.mktemp("shared")
    ledger = directory / "ledger"
    ledger.touch()
    with database_of(request.param, directory) as url:
        database = Database(url)
        with serving(url, directory, log_file="log", EXTENSION_WEB_WORKERS=2) as server:
            yield Shared(server, database, ledger)
        database.dispose()


@pytest.fixture
def server(shared):
    """The shared server, which knows of no job and no scheduler."""
    with shared.database.transaction() as connection:
        for table in reversed(metadata.sorted_tables):
            connection.execute(delete(table))
    return shared.server


@pytest.fixture
def added(shared):
    """What the listener of the shared server writes down during a test."""
    return Since(shared.ledger)


@pytest.fixture
def rows(shared):
    def rows(table, *columns):
        with shared.database.read() as connection:
            found = connection.execute(select(*(table.c[column] for column in columns)).order_by(*table.primary_key))
            return [tuple(row) for row in found]

    return rows


def heard(ledger):
    whole = ledger.read_text().rpartition("\n")[0]  # the last line may not be whole yet
    return [json.loads(line) for line in whole.splitlines()]


def post(server, **payload):
    reply = server.post("/event", payload, {"Authorization": f"Token {TOKEN}"})
    assert (reply.status, reply.body) == (200, b'{"status":"success","message":"","data":{}}\n')


class Work:
    """Jobs that do what a test wants, and everything their scheduler tells."""

    def __init__(self, scheduler):
        self.told = []
        self.release = threading.Event()
        scheduler.add_listener(self._note, EVENT_ALL)
        self._changed = threading.Condition()

    def _note(self, event):
        times = len(event.scheduled_run_times) if hasattr(event, "scheduled_run_times") else 1
        with self._changed:
            self.told += [(event.code, getattr(event, "job_id", None))] * times
            self._changed.notify_all()

    def wait_for(self, code, times=1):
        with self._changed:
            assert self._changed.wait_for(lambda: Counter(each for each, _ in self.told)[code] >= times, 30), code

    def succeed(self):
        return {"sent": 3}

    def fail(self):
        raise ValueError("no more paper")

    def wait(self):
        self.release.wait(30)


def live(scheduler, work):
    """The whole life of a scheduler: every kind of event that APScheduler has."""
    soon = datetime.now(UTC) + timedelta(milliseconds=100)
    scheduler.add_job(work.succeed, "interval", seconds=0.2, id="succeeds", name="succeed")  # before it starts
    scheduler.start()
    scheduler.add_job(work.fail, "date", run_date=soon, id="fails", name="fail")
    scheduler.add_job(work.wait, "interval", seconds=0.2, id="waits", name="wait", max_instances=1)
    late = datetime.now(UTC) - timedelta(minutes=5)
    scheduler.add_job(work.succeed, "date", run_date=late, id="late", name="late", misfire_grace_time=1)
    for code in (Code.JOB_ERROR, Code.JOB_MISSED, Code.JOB_MAX_INSTANCES, Code.JOB_REMOVED):
        work.wait_for(code)
    work.wait_for(Code.JOB_EXECUTED, 3)
    work.release.set()
    scheduler.pause()
    scheduler.resume()
    scheduler.reschedule_job("waits", trigger="interval", hours=1)
    scheduler.remove_job("succeeds")
    scheduler.add_executor(Executor(1), "more")
    scheduler.remove_executor("more")
    scheduler.add_jobstore(MemoryJobStore(), "more")
    scheduler.remove_jobstore("more")
    scheduler.add_job(work.succeed, "interval", hours=1, id="last", name="last")
    scheduler.remove_all_jobs()
    scheduler.shutdown()


def test_everything_that_a_scheduler_tells_is_in_the_store_and_at_a_listener(server, rows, added):
    scheduler = BackgroundScheduler(timezone=UTC)
    work = Work(scheduler)
    listener = CronEyeListener(server.url, TOKEN, "billing")
    listener.attach(scheduler)
    live(scheduler, work)
    assert listener.close(30)
    assert (listener.refused, listener.dropped) == (0, 0)
    told = Counter(work.told)
    assert {code for code, _ in told} == set(Code)
    refs = dict(rows(jobs, "ref", "job_id"))
    assert Counter((code, refs.get(job_ref)) for code, job_ref in rows(log, "code", "job_ref")) == told
    # Of the first run of a job it is not known how long it may take, so that it counts as lost when another is refused.
    wait_until(lambda: len(heard(added)) >= told.total() + 1)
    lines = heard(added)
    assert [line["subject"] for line in lines if line["name"] == LOST] == ["billing/waits"]
    lines = [line for line in lines if line["name"] != LOST]
    assert Counter((line["name"], line["subject"]) for line in lines) == Counter(
        {
            (Code(code).event_name, f"billing/{job_id}" if job_id else "billing"): count
            for (code, job_id), count in told.items()
        }
    )
    assert len({line["id"] for line in lines}) == told.total()
    assert {line["type"] for line in lines} == {"CronEyeEvent"}
    assert [line["exception"] for line in lines if line["name"] == "croneye.job.error"] == [
        "ValueError('no more paper')"
    ]
    assert rows(schedulers, "name", "status") == [("billing", "shutdown")]
    assert {(task, active) for task, active in rows(jobs, "task", "is_active")} == {
        (task, False) for task in ("succeed", "fail", "wait", "late", "last")
    }
    outcomes = Counter((refs[ref], outcome) for ref, outcome in rows(runs, "job_ref", "outcome"))
    assert outcomes == Counter(
        {
            ("succeeds", "succeeded"): told[Code.JOB_EXECUTED, "succeeds"],
            ("waits", "succeeded"): told[Code.JOB_EXECUTED, "waits"],
            ("fails", "failed"): 1,
            ("late", "missed"): 1,
        }
    )
    assert all(started is not None for (started,) in rows(runs, "started_at"))


def test_events_of_a_job_are_heard_in_the_order_in_which_they_came(server, added):
    for number in range(30):
        post(server, event_code=512 if number % 2 else 1024, jobstore="billing", job_id=1, task=f"task {number}")
    wait_until(lambda: len(heard(added)) == 30)
    assert [line["name"] for line in heard(added)] == ["croneye.job.removed", "croneye.job.added"] * 15


def test_forty_at_the_same_time(server, rows, added):
    barrier = threading.Barrier(40)
    now = datetime.now(UTC).timestamp()

    def push(number):
        job = {"job_id": number % 8}
        payloads = [
            {"event_code": 1, "alias": f"scheduler {number % 4}"},
            {"event_code": 512, "job_store": f"scheduler {number % 4}", "task": f"task {number}", **job},
            {"event_code": 32768, "time": now, "next_scheduled_run_time": now + 3600, **job},
            {"event_code": 4096, "time": now + 1, "return_value": number, **job},
            {"event_code": 8192, "time": now + 1, "exception": "no", "traceback": "line", **job},
        ]
        barrier.wait(30)
        for payload in payloads:
            post(server, **payload)

    with ThreadPoolExecutor(40) as pool:
        list(pool.map(push, range(40)))
    assert Counter(code for (code,) in rows(log, "code")) == dict.fromkeys((1, 512, 32768, 4096, 8192), 40)
    assert sorted(rows(jobs, "job_id")) == [(str(number),) for number in range(8)]
    wait_until(lambda: len(heard(added)) >= 200)
    assert len({line["id"] for line in heard(added)}) == len(heard(added)) == 200


def test_killed_web_processes_lose_nothing_that_was_answered(serve, ledger):
    answered, stop = set(), threading.Event()

    def add(server, job_id):
        """Tell of one change of a job after the other; each again and again, until it is answered."""
        number = 0
        while not stop.is_set():
            sent = {"event_code": 512, "alias": "billing", "job_id": job_id, "task": f"{number}", "time": number}
            try:
                reply = server.post("/event", sent, {"Authorization": f"Token {TOKEN}"})
            except (OSError, HTTPException):  # whoever was to answer has been killed
                continue
            if reply.status == 200:
                answered.add((f"billing/{job_id}", number))
                number += 1

    def told():
        return [(line["subject"], int(line["task"])) for line in heard(ledger)]

    with serve() as server:
        threads = [threading.Thread(target=add, args=(server, job_id)) for job_id in range(8)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(4):
                before = len(answered)
                wait_until(lambda before=before: len(answered) > before + 20, timeout=60)
                killed = server.children("serve")
                assert killed
                for pid in killed:
                    os.kill(pid, signal.SIGKILL)
        finally:
            stop.set()
            for thread in threads:
                thread.join(60)
        wait_until(lambda: answered <= set(told()), timeout=90)
    with without_worker(serve.url) as api:
        recorded = [(event.subject, int(event.payload["task"])) for event in api.events]
    assert len(recorded) == len(set(recorded))  # each once, however often it was sent
    for job_id in range(8):
        mine = [number for subject, number in told() if subject == f"billing/{job_id}"]
        assert mine == sorted(mine)


@contextmanager
def without_worker(url):
    """The API in this process, with the database of a server that does not run."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in VARIABLES.items():
            patch.setenv(name, value)
        service = Service.of([extension], Settings(database_url=url)).open()
    try:
        yield Api(service, service.runtime.database)
    finally:
        service.runtime.close(5)


def test_a_job_that_is_overdue_is_told_once_also_after_a_restart(serve, ledger):
    def overdue():
        return [line["subject"] for line in heard(ledger) if line["name"] == "croneye.job.overdue"]

    def expect(server, job_id):
        post(server, event_code=512, jobstore="billing", job_id=job_id, task="invoice")
        post(server, event_code=32768, job_id=job_id, time=1_700_000_000, next_scheduled_run_time=1_700_003_600)

    with without_worker(serve.url) as api:
        now = datetime.now(UTC).timestamp()
        api.take(
            {"event_code": 512, "jobstore": "billing", "job_id": "soon", "task": "invoice"},
            {"event_code": 32768, "job_id": "soon", "time": now - 1, "next_scheduled_run_time": now},
        )
    with serve(EXTENSION_CRONEYE_OVERDUE_AFTER=0.1) as server:
        wait_until(overdue)
        expect(server, "second")
        wait_until(lambda: len(overdue()) == 2)
    with serve(EXTENSION_CRONEYE_OVERDUE_AFTER=0.1) as server:
        expect(server, "third")
        wait_until(lambda: len(overdue()) >= 3)
    assert overdue() == ["billing/soon", "billing/second", "billing/third"]


@pytest.mark.parametrize("serve", ["sqlite"], indirect=True)
def test_dashboards_see_what_services_send(serve):
    with serve("--no-worker", EXTENSION_CRONEYE_PREFIX="/jobs/") as server:
        event = {"event_code": 512, "job_store": "billing", "job_id": 1, "task": "invoice"}
        for path in ("/jobs/event", "/croneye/api/listener/event"):
            assert server.post(path, event, {"Authorization": f"Token {TOKEN}"}).status == 200
        assert server.post("/event", event, {"Authorization": f"Token {TOKEN}"}).status == 404
        token = server.post("/croneye/api/auth/login", {"email": EMAIL, "password": PASSWORD}).json["auth_token"]
        summary = server.post("/croneye/api/dashboard/summary", {}, {"Authorization": f"Bearer {token}"})
        assert summary.json["data"]["total_jobs"] == 1


@pytest.mark.parametrize(
    ("environment", "problem"),
    [
        ({"EXTENSION_CRONEYE_TOKEN": ""}, "EXTENSION_CRONEYE_TOKEN is not set: services need a token to send events"),
        ({"EXTENSION_CRONEYE_TOKEN": " , "}, "EXTENSION_CRONEYE_TOKEN is set to something else"),
        ({"EXTENSION_CRONEYE_TOKEN": "gehe\u00efm"}, "EXTENSION_CRONEYE_TOKEN is set to something else"),
        ({"EXTENSION_CRONEYE_ADMIN_PASSWORD": ""}, "EXTENSION_CRONEYE_ADMIN_PASSWORD is not set: both are needed"),
        ({"EXTENSION_CRONEYE_ADMIN_EMAIL": ""}, "EXTENSION_CRONEYE_ADMIN_EMAIL is not set: both are needed"),
        (
            {"EXTENSION_CRONEYE_PREFIX": "jobs"},
            'EXTENSION_CRONEYE_PREFIX is "jobs": a path such as /croneye is allowed',
        ),
        ({"EXTENSION_CRONEYE_OVERDUE_AFTER": "soon"}, 'EXTENSION_CRONEYE_OVERDUE_AFTER is "soon"'),
    ],
)
def test_bad_settings_are_named(tmp_path, monkeypatch, environment, problem):
    for name, value in {**VARIABLES, **environment}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as caught:
        Service.of([extension], Settings(database_url=f"sqlite:///{tmp_path}/extension.db")).open()
    assert str(caught.value).startswith(problem)
    assert len(str(caught.value).splitlines()) == 1
    assert TOKEN not in str(caught.value)
    assert PASSWORD not in str(caught.value)


def test_bad_settings_stop_the_start_in_one_line(tmp_path):
    environment = {**VARIABLES, "EXTENSION_CRONEYE_PREFIX": "jobs"}
    with run_server([KIT, "serve", EXTENSION], tmp_path / "log", **environment) as server:
        assert server.process.wait(30) == 2
        lines = server.log.splitlines()
    assert 'EXTENSION_CRONEYE_PREFIX is "jobs": a path such as /croneye is allowed' in lines[-1]
    assert TOKEN not in server.log
    assert PASSWORD not in server.log


SERVICE = """
import os
import signal
import sys
import time
from apscheduler.schedulers.blocking import BlockingScheduler
from extension_kit.apscheduler import CronEyeListener

scheduler = BlockingScheduler(timezone="UTC")
CronEyeListener(sys.argv[1], sys.argv[2], "billing").attach(scheduler)
runs = 0

@scheduler.scheduled_job("interval", seconds=0.2, id="invoices", max_instances=20)
def write_invoices():
    global runs
    runs += 1
    if runs == 3:
        time.sleep(2)  # until it is told of
        os.kill(os.getpid(), signal.SIGKILL)

scheduler.start()
"""


def test_a_run_whose_process_is_killed_is_told_once_by_two_workers(serve, ledger):
    def names():
        return [(line["name"], line["subject"]) for line in heard(ledger)]

    def lost():
        return [subject for name, subject in names() if name == LOST]

    impatient = {"EXTENSION_CRONEYE_LOST_AFTER": "3", "EXTENSION_CRONEYE_OVERDUE_AFTER": "1"}
    with ExitStack() as stack:
        server = stack.enter_context(serve(**impatient))  # with a worker
        environment = {**os.environ, **VARIABLES, **impatient, "LEDGER": str(ledger)}
        environment |= {"EXTENSION_DATABASE_URL": serve.url, "STEADYBIT_EXTENSION_HEALTH_PORT": str(free_port())}
        stack.callback(end, subprocess.Popen([KIT, "worker", EXTENSION, HANDLERS], env=environment))
        service = subprocess.Popen([sys.executable, "-c", SERVICE, server.url, TOKEN])
        stack.callback(end, service)
        assert service.wait(30) == -signal.SIGKILL
        wait_until(lost)
        for name in ("first", "second"):  # looks of the workers that come after it
            now = datetime.now(UTC).timestamp()
            post(server, event_code=32768, job_id=name, alias="other", time=now - 9, next_scheduled_run_time=now - 5)
            wait_until(lambda name=name: (OVERDUE, f"other/{name}") in names())
    assert set(lost()) == {"billing/invoices"}
    # Each has the id of its run: another one may have begun in the moment in which the process was killed.
    assert len({line["id"] for line in heard(ledger)}) == len(heard(ledger))


def end(process):
    process.kill()
    process.wait(30)
