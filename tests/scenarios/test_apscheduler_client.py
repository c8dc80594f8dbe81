"""Real schedulers tell a real server what they do, whatever the server, the network and the jobs do."""

import asyncio
import json
import logging
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from apscheduler import events as aps
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.memory import MemoryJobStore
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.schedulers.background import BackgroundScheduler

from extension_kit.apscheduler import CronEyeListener
from extension_kit.errors import ConfigurationError
from tests.support.servers import free_port
from tests.support.waiting import wait_until

TOKEN = "s3cret-token"
TIMEOUT = 20.0
SUCCESS = {"status": "success", "message": "", "data": {}}
HOUR = timedelta(hours=1)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self):
        payload = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        status, headers = 200, {}
        if self.path != "/event":
            status = 404
        elif self.headers["Authorization"] != f"Token {TOKEN}":
            status = 401
        else:
            status, headers = self.server.croneye.answer(payload)
        if status == 200:
            self.server.croneye.events.append(payload)
        body = json.dumps(SUCCESS if status == 200 else {"status": "failure", "message": "", "data": {}}).encode()
        self.send_response(status)
        for name, value in {"Content-Length": len(body), **headers}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class HTTPServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def get_request(self):
        connection, address = super().get_request()
        self.croneye.connections.append(connection)
        return connection, address

    def handle_error(self, *_):  # the tests cut connections
        pass


class CronEye:
    """A server that keeps what it has taken; ``answer`` says what it answers, and may wait."""

    def __init__(self, port=0, answer=lambda payload: (200, {})):
        self.answer = answer
        self.events = []
        self.connections = []
        self._server = HTTPServer(("127.0.0.1", port), Handler)
        self._server.croneye = self
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def of(self, *codes):
        return [payload for payload in list(self.events) if payload["event_code"] in codes]

    def ids(self, *codes):
        return [payload["job_id"] for payload in self.of(*codes)]

    def cut(self):
        """Hang up on everybody."""
        for connection in self.connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def close(self):
        self._server.shutdown()
        self._server.server_close()
        self.cut()


@pytest.fixture
def start_server():
    started = []

    def start(*arguments, **options):
        started.append(CronEye(*arguments, **options))
        return started[-1]

    yield start
    for one in started:
        one.close()


@pytest.fixture
def server(start_server):
    return start_server()


@pytest.fixture
def listen():
    made = []

    def make(url, token=TOKEN, **options):
        listener = CronEyeListener(url, token, "billing", **{"first_retry": 0.005, "longest_retry": 0.05, **options})
        made.append(listener)
        return listener

    yield make
    for one in made:
        one.close(0)


@pytest.fixture
def scheduler():
    scheduler = BackgroundScheduler(timezone=UTC)
    yield scheduler
    if scheduler.running:
        scheduler.shutdown()


class Gate:
    """Lets nobody through until it is opened; ``arrived`` counts who came."""

    def __init__(self):
        self._open = threading.Event()
        self.arrived = 0

    def __call__(self, *_):
        self.arrived += 1
        assert self._open.wait(TIMEOUT)
        return 200, {}

    def open(self):
        self._open.set()


def work(result=None):
    return result


def fail():
    raise ValueError("no money")


def add_jobs(scheduler, ids):
    for job_id in ids:
        scheduler.add_job(work, "date", id=job_id, run_date=datetime.now(UTC) + HOUR)


def job_ids(count, prefix="job"):
    return [f"{prefix}-{number}" for number in range(count)]


def logged(caplog, level=logging.WARNING):
    return [
        record.getMessage()
        for record in caplog.records
        if record.name == "extension_kit.apscheduler" and record.levelno >= level
    ]


# What a scheduler does


def test_every_kind_of_event_of_a_schedulers_life_arrives(server, listen, scheduler):
    listener = listen(server.url)
    seen = []
    scheduler.add_listener(seen.append)
    listener.attach(scheduler)

    running = Gate()
    scheduler.add_job(work, "interval", hours=1, id="early", name="added before the start")
    scheduler.start()
    scheduler.pause()
    scheduler.resume()
    scheduler.add_jobstore(MemoryJobStore(), "second")
    scheduler.add_executor(ThreadPoolExecutor(1), "second")
    scheduler.add_job(work, args=["paid"], id="works", name="pay")
    scheduler.add_job(fail, id="fails")
    scheduler.add_job(work, "date", run_date=datetime.now(UTC) - HOUR, misfire_grace_time=1, id="late")
    scheduler.add_job(running, "interval", seconds=0.05, id="long", executor="second")
    scheduler.modify_job("early", name="modified")
    scheduler.remove_job("early")
    wait_until(lambda: server.of(aps.EVENT_JOB_MAX_INSTANCES))
    running.open()
    wait_until(lambda: server.ids(aps.EVENT_JOB_EXECUTED).count("long"))
    scheduler.remove_all_jobs()
    scheduler.remove_executor("second")
    scheduler.remove_jobstore("second")
    scheduler.shutdown()
    assert listener.flush(TIMEOUT)

    assert Counter(payload["event_code"] for payload in server.events) == Counter(event.code for event in seen)
    assert sum({event.code for event in seen}) == aps.EVENT_ALL
    for event in seen:
        if hasattr(event, "job_id"):
            codes = [payload["event_code"] for payload in server.events if payload.get("job_id") == event.job_id]
            assert Counter(codes) == Counter(one.code for one in seen if getattr(one, "job_id", "") == event.job_id)
    assert server.of(aps.EVENT_JOB_ADDED)[0]["task"] == "added before the start"
    assert {payload["alias"] for payload in server.events} == {"billing"}
    assert {payload.get("jobstore", "billing") for payload in server.events} == {"billing"}
    assert (listener.dropped, listener.refused, listener.waiting) == (0, 0, 0)


def test_what_arrives_of_jobs(server, listen, scheduler):
    listener = listen(server.url)
    listener.attach(scheduler)
    scheduler.start()
    before = int(time.time() * 1000)
    soon = datetime.now(UTC)
    scheduler.add_job(work, "interval", hours=1, args=[{"paid": 3}], next_run_time=soon, id="works", name="pay")
    scheduler.add_job(fail, id="fails")
    wait_until(lambda: len(server.of(aps.EVENT_JOB_EXECUTED, aps.EVENT_JOB_ERROR, aps.EVENT_JOB_SUBMITTED)) == 4)
    after = time.time() * 1000

    (added,) = [payload for payload in server.of(aps.EVENT_JOB_ADDED) if payload["job_id"] == "works"]
    assert (added["task"], added["job_store"], added["jobstore"]) == ("pay", "billing", "billing")
    due = round(soon.timestamp() * 1000)
    assert added["next_scheduled_run_time"] == due
    (submitted,) = [payload for payload in server.of(aps.EVENT_JOB_SUBMITTED) if payload["job_id"] == "works"]
    assert (submitted["task"], submitted["scheduled_run_time"]) == ("pay", due)
    assert submitted["next_scheduled_run_time"] == due + 3_600_000
    (executed,) = server.of(aps.EVENT_JOB_EXECUTED)
    assert (executed["job_id"], executed["scheduled_run_time"]) == ("works", due)
    assert executed["return_value"] == "{'paid': 3}"
    (failed,) = server.of(aps.EVENT_JOB_ERROR)
    assert (failed["job_id"], failed["exception"]) == ("fails", "ValueError('no money')")
    assert failed["traceback"].endswith('raise ValueError("no money")\n')
    assert all(before <= payload["time"] <= after for payload in (added, submitted, executed, failed))


def test_without_attach_jobs_have_their_ids_for_names(server, listen, scheduler):
    listener = listen(server.url)
    scheduler.add_listener(listener)
    scheduler.start()
    scheduler.add_job(work, "interval", hours=1, next_run_time=datetime.now(UTC), id="works", name="pay")
    wait_until(lambda: server.of(aps.EVENT_JOB_SUBMITTED))
    assert server.of(aps.EVENT_JOB_ADDED)[0]["task"] == "works"
    assert "task" not in server.of(aps.EVENT_JOB_SUBMITTED)[0]


def test_a_listener_listens_to_one_scheduler(server, listen, scheduler):
    listener = listen(server.url)
    listener.attach(scheduler)
    with pytest.raises(ConfigurationError, match="make another for another scheduler"):
        listener.attach(scheduler)


def test_a_scheduler_that_waits_for_its_jobs_when_it_shuts_down_is_not_held_up(server, listen, scheduler):
    listener = listen(server.url)
    listener.attach(scheduler)
    running = Gate()

    def work():
        running()
        # As APScheduler does when the scheduler begins to shut down while the job modifies itself.
        listener(aps.JobEvent(aps.EVENT_JOB_MODIFIED, "long", "default"))

    scheduler.start()
    scheduler.add_job(work, id="long")
    wait_until(lambda: running.arrived)
    shutting_down = threading.Thread(target=scheduler.shutdown, daemon=True)
    shutting_down.start()
    wait_until(lambda: not scheduler.running)
    running.open()
    shutting_down.join(TIMEOUT)
    assert not shutting_down.is_alive()
    assert listener.flush(TIMEOUT)
    last = [payload["event_code"] for payload in server.events[-3:]]
    assert last == [aps.EVENT_JOB_MODIFIED, aps.EVENT_JOB_EXECUTED, aps.EVENT_SCHEDULER_SHUTDOWN]


def test_a_scheduler_of_asyncio(server, listen):
    listener = listen(server.url)

    async def pay():
        return "paid"

    async def run():
        scheduler = AsyncIOScheduler(timezone=UTC)
        listener.attach(scheduler)
        scheduler.start()
        scheduler.add_job(pay, id="works")
        while not server.of(aps.EVENT_JOB_EXECUTED):
            await asyncio.sleep(0.01)
        scheduler.shutdown()

    asyncio.run(asyncio.wait_for(run(), TIMEOUT))
    assert listener.flush(TIMEOUT)
    assert server.of(aps.EVENT_JOB_EXECUTED)[0]["return_value"] == "paid"


class Hostile(Exception):
    def __str__(self):
        raise RuntimeError("no text")

    __repr__ = __str__


def return_hostile():
    return Hostile()


def raise_hostile():
    raise Hostile


def return_much():
    return "✓" * 5_000_000


def test_results_that_cannot_be_shown_or_are_huge_break_nothing(server, listen, scheduler, caplog):
    listener = listen(server.url)
    listener.attach(scheduler)
    scheduler.start()
    caplog.set_level(logging.CRITICAL, "apscheduler.executors.default")  # it cannot show the exception either
    for job in (return_hostile, raise_hostile, return_much, work):
        scheduler.add_job(job, id=job.__name__)
    wait_until(lambda: len(server.of(aps.EVENT_JOB_EXECUTED, aps.EVENT_JOB_ERROR)) == 4)
    sent = {payload["job_id"]: payload for payload in server.of(aps.EVENT_JOB_EXECUTED, aps.EVENT_JOB_ERROR)}
    assert sent["return_hostile"]["return_value"] == "<Hostile, whose str() raises RuntimeError>"
    assert sent["raise_hostile"]["exception"] == "<Hostile, whose repr() raises RuntimeError>"
    assert 8000 < len(sent["return_much"]["return_value"].encode()) <= 8192
    assert sent["work"]["return_value"] == ""


class BrokenStore(MemoryJobStore):
    def lookup_job(self, job_id):
        raise ConnectionError("the database is gone")


def test_a_job_store_that_cannot_be_asked_breaks_nothing(server, listen, scheduler):
    scheduler.add_jobstore(BrokenStore())
    listen(server.url).attach(scheduler)
    scheduler.start()
    scheduler.add_job(work, id="works", name="pay")
    wait_until(lambda: server.of(aps.EVENT_JOB_EXECUTED))
    assert server.of(aps.EVENT_JOB_ADDED)[0]["task"] == "works"


def test_an_event_that_is_none_is_logged_and_the_next_one_is_sent(server, listen, caplog):
    listener = listen(server.url)
    listener(aps.JobExecutionEvent(aps.EVENT_JOB_EXECUTED, "a", "default", "no time"))
    listener(aps.SchedulerEvent(aps.EVENT_SCHEDULER_STARTED))
    assert listener.flush(TIMEOUT)
    assert [payload["event_code"] for payload in server.events] == [1]
    assert logged(caplog) == [f"Cannot send an event to {server.url}/event"]


def test_events_of_forty_threads_arrive_each_once_and_in_the_order_of_their_thread(server, listen, scheduler):
    listener = listen(server.url)
    listener.attach(scheduler)
    scheduler.start()
    barrier = threading.Barrier(40)

    def push(thread):
        barrier.wait(TIMEOUT)
        add_jobs(scheduler, job_ids(5, thread))

    threads = [threading.Thread(target=push, args=(f"thread-{number}",)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
    assert listener.flush(TIMEOUT)
    for number in range(40):
        prefix = f"thread-{number}-"
        assert [job_id for job_id in server.ids(512) if job_id.startswith(prefix)] == job_ids(5, prefix[:-1])
    assert len(server.connections) == 1


# A server that is away, slow, or refuses


def test_while_the_server_is_down_nothing_is_lost_and_the_order_is_kept(start_server, listen, scheduler, caplog):
    port = free_port()
    listener = listen(f"http://127.0.0.1:{port}")
    listener.attach(scheduler)
    scheduler.start()
    ids = job_ids(300)
    add_jobs(scheduler, ids[:100])
    wait_until(lambda: logged(caplog))
    first = start_server(port)
    add_jobs(scheduler, ids[100:150])
    wait_until(lambda: len(first.events) > 100)
    first.close()
    add_jobs(scheduler, ids[150:])
    assert listener.waiting > 0
    second = start_server(port)
    assert listener.flush(TIMEOUT)

    arrived = first.events + second.events
    assert arrived[2]["event_code"] == aps.EVENT_SCHEDULER_STARTED
    assert list(dict.fromkeys(first.ids(512) + second.ids(512))) == ids
    assert len(arrived) <= len(ids) + 3 + 1  # an event whose answer was lost comes twice
    lines = logged(caplog)
    assert lines[0].startswith(f"http://127.0.0.1:{port}/event is unavailable (Connection refused): events wait")
    assert lines[1].startswith(f"http://127.0.0.1:{port}/event is available again; failed attempts: ")
    assert len(lines) == 2  # the second time comes too soon after the first to be told
    assert TOKEN not in caplog.text
    assert (listener.dropped, listener.refused) == (0, 0)


def test_connections_that_are_cut_lose_nothing(server, listen, scheduler):
    listener = listen(server.url)
    listener.attach(scheduler)
    scheduler.start()
    ids = job_ids(60)
    for number in range(0, 60, 10):
        add_jobs(scheduler, ids[number : number + 10])
        assert listener.flush(TIMEOUT)
        server.cut()
    assert list(dict.fromkeys(server.ids(512))) == ids


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_an_event_is_tried_again_before_any_other_until_the_server_takes_it(start_server, listen, scheduler, status):
    asked = Counter()

    def answer(payload):
        asked[payload.get("job_id")] += 1
        return (200 if asked[payload.get("job_id")] > 3 else status), {}

    server = start_server(answer=answer)
    listener = listen(server.url)
    listener.attach(scheduler)
    scheduler.start()
    add_jobs(scheduler, job_ids(5))
    wait_until(lambda: len(server.ids(512)) == 5)
    assert server.ids(512) == job_ids(5)
    assert [asked[job_id] for job_id in job_ids(5)] == [4] * 5
    assert listener.refused == 0


def test_a_server_that_wants_to_rest_is_left_alone(start_server, listen):
    asked = []

    def answer(payload):
        asked.append(time.monotonic())
        return (503 if len(asked) == 1 else 200), {"Retry-After": 1}

    server = start_server(answer=answer)
    listener = listen(server.url)
    listener(aps.SchedulerEvent(aps.EVENT_SCHEDULER_STARTED))
    wait_until(lambda: server.events)
    assert len(asked) == 2
    assert asked[1] - asked[0] >= 1


def test_flush_tries_at_once_what_waits_for_its_next_attempt(start_server, listen, caplog):
    port = free_port()
    listener = listen(f"http://127.0.0.1:{port}", first_retry=1000, longest_retry=1000)
    listener(aps.SchedulerEvent(aps.EVENT_SCHEDULER_STARTED))
    wait_until(lambda: logged(caplog))
    assert listener.flush(0) is False
    server = start_server(port)
    assert wait_until(lambda: listener.flush(0.1))
    assert len(server.events) == 1


def test_one_event_that_the_server_cannot_store_holds_up_the_others_for_a_while_only(start_server, listen, scheduler):
    server = start_server(answer=lambda payload: (500 if payload.get("job_id") == "job-1" else 200, {}))
    listener = listen(server.url, give_up_after=0.1)
    listener.attach(scheduler)
    scheduler.start()
    add_jobs(scheduler, job_ids(3))
    assert listener.flush(TIMEOUT)
    assert server.ids(512) == ["job-0", "job-2"]
    assert listener.refused == 1


def test_nothing_is_given_up_while_the_server_says_when_it_is_back(start_server, listen, scheduler):
    tries = []

    def away(payload):
        tries.append(payload)
        return (500, {"Retry-After": "1"}) if len(tries) < 3 else (200, {})

    server = start_server(answer=away)
    listener = listen(server.url, give_up_after=0.001)
    listener.attach(scheduler)
    scheduler.start()
    add_jobs(scheduler, job_ids(3))
    assert listener.flush(TIMEOUT)
    assert server.ids(512) == job_ids(3)
    assert listener.refused == 0


def test_a_slow_server_delays_no_job(start_server, listen, scheduler):
    slow = Gate()
    server = start_server(answer=slow)
    listener = listen(server.url)
    listener.attach(scheduler)
    done = []
    scheduler.start()
    for number in range(50):
        scheduler.add_job(done.append, args=[number], misfire_grace_time=None)
    wait_until(lambda: len(done) == 50)
    wait_until(lambda: slow.arrived)
    scheduler.pause()
    scheduler.shutdown()
    assert (slow.arrived, server.events) == (1, [])
    slow.open()
    assert listener.flush(TIMEOUT)
    assert len(server.of(aps.EVENT_JOB_EXECUTED)) == 50
    assert server.of(aps.EVENT_SCHEDULER_SHUTDOWN)


def test_a_full_queue_drops_what_comes_counts_it_and_says_so_once(start_server, listen, scheduler, caplog):
    slow = Gate()
    server = start_server(answer=slow)
    listener = listen(server.url, queue_size=10)
    listener.attach(scheduler)
    scheduler.start(paused=True)
    add_jobs(scheduler, job_ids(27))
    assert (listener.waiting, listener.dropped) == (10, 20)
    (line,) = logged(caplog)
    assert line == f"10 events wait for {server.url}/event, further ones are dropped"
    slow.open()
    assert listener.flush(TIMEOUT)
    add_jobs(scheduler, ["after"])
    assert listener.flush(TIMEOUT)
    assert server.ids(512) == [*job_ids(7), "after"]
    assert logged(caplog)[1:] == [f"Events for {server.url}/event are queued again; dropped: 20"]


def test_waiting_events_take_no_more_than_their_room(start_server, listen, scheduler):
    slow = Gate()
    server = start_server(answer=slow)
    listener = listen(server.url, queue_bytes=1000)
    listener.attach(scheduler)
    scheduler.start(paused=True)
    add_jobs(scheduler, job_ids(27))
    assert 0 < listener.waiting < 27
    assert listener.waiting + listener.dropped == 30
    slow.open()
    assert listener.flush(TIMEOUT)
    add_jobs(scheduler, ["after"])
    assert listener.flush(TIMEOUT)
    assert server.ids(512)[-1] == "after"


def test_a_refused_token_is_told_once_and_events_go_on_when_it_is_accepted(start_server, listen, scheduler, caplog):
    right, wrong = start_server(), start_server(answer=lambda payload: (401, {}))
    caplog.set_level(logging.DEBUG)
    listener = listen(wrong.url)
    listener.attach(scheduler)
    scheduler.start(paused=True)
    add_jobs(scheduler, job_ids(5))
    assert listener.flush(TIMEOUT)
    assert listener.refused == 8
    (line,) = logged(caplog)
    assert line.startswith(f"{wrong.url}/event refuses an event, which is lost: it answers 401")
    assert line.endswith("compare the token with those that the server accepts")
    wrong.answer = right.answer
    add_jobs(scheduler, ["after"])
    assert listener.flush(TIMEOUT)
    assert wrong.ids(512) == ["after"]
    assert logged(caplog)[1:] == [f"{wrong.url}/event accepts events again; refused: 8"]
    assert TOKEN not in caplog.text
    assert (listener.refused, listener.dropped) == (8, 0)


@pytest.mark.parametrize(
    ("path", "token", "hint"),
    [("/event", TOKEN, "without /event"), ("", "other", "compare the token"), ("", TOKEN, "no Authorization header")],
)
def test_a_refusal_says_what_to_do(start_server, listen, caplog, path, token, hint):
    server = start_server(answer=lambda payload: (400, {}))
    listener = listen(server.url + path, token)
    listener(aps.SchedulerEvent(aps.EVENT_SCHEDULER_STARTED))
    assert listener.flush(TIMEOUT)
    (line,) = logged(caplog, logging.ERROR)
    assert hint in line


def test_after_close_nothing_is_sent_and_all_is_counted(start_server, listen, caplog):
    server = start_server()
    listener = listen(server.url)
    listener(aps.SchedulerEvent(aps.EVENT_SCHEDULER_STARTED))
    assert listener.close(TIMEOUT)
    listener(aps.SchedulerEvent(aps.EVENT_SCHEDULER_PAUSED))
    assert listener.close(TIMEOUT)
    assert listener.flush(TIMEOUT)
    assert [payload["event_code"] for payload in server.events] == [1]
    assert listener.dropped == 1
    assert not logged(caplog)


def test_what_cannot_be_sent_before_close_is_dropped_with_a_warning(listen, caplog):
    listener = listen(f"http://127.0.0.1:{free_port()}")
    for _ in range(3):
        listener(aps.SchedulerEvent(aps.EVENT_SCHEDULER_STARTED))
    assert listener.close(0.05) is False
    assert (listener.waiting, listener.dropped) == (0, 3)
    assert listener.flush(TIMEOUT)
    assert logged(caplog)[-1].startswith("Not sent to http://127.0.0.1:")
    assert logged(caplog)[-1].endswith("/event: 3 event(s)")
    wait_until(lambda: not [thread for thread in threading.enumerate() if thread.name == "croneye"])


# The end of the process, and processes that are forked


def run(code, url, **environment):
    """Run a program that has a listener and a scheduler, both of them not closed."""
    start = f"""
        import atexit, logging, os, sys, threading, time
        logging.basicConfig(format="%(message)s")
        {environment.pop("FIRST", "")}
        from datetime import UTC, datetime
        from apscheduler.schedulers.background import BackgroundScheduler
        from extension_kit.apscheduler import CronEyeListener
        scheduler = BackgroundScheduler(timezone=UTC)
        listener = CronEyeListener({url!r}, {TOKEN!r}, "billing", exit_timeout={environment.pop("EXIT", 20)})
        listener.attach(scheduler)
    """
    program = "\n".join(line.strip() for line in start.splitlines()) + "\n" + code
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended


def test_at_the_end_of_the_process_what_waits_is_sent_and_that_of_jobs_under_way(start_server):
    def answer(payload):
        threading.Event().wait(0.02)
        return 200, {}

    server = start_server(answer=answer)
    code = """
import concurrent.futures.thread
started = threading.Event()
def work():
    started.set()
    while not concurrent.futures.thread._shutdown:  # the process has begun to end
        time.sleep(0.001)
    return "done"
scheduler.start()
scheduler.add_job(work, id="under-way")
for number in range(20):
    scheduler.add_job(print, "interval", hours=1, id=f"job-{number}")
started.wait(20)
"""
    run(code, server.url)
    assert [job_id for job_id in server.ids(512) if job_id != "under-way"] == job_ids(20)
    (executed,) = server.of(aps.EVENT_JOB_EXECUTED)
    assert executed["return_value"] == "done"


@pytest.mark.parametrize("first", [True, False])
def test_a_scheduler_that_is_shut_down_at_exit_is_seen_to_be(server, first):
    shut_down = "atexit.register(lambda: scheduler.shutdown())"
    code = "scheduler.start()\nscheduler.add_job(print, id='works')\n"
    run(code + ("" if first else shut_down), server.url, FIRST=shut_down if first else "")
    assert server.of(aps.EVENT_SCHEDULER_SHUTDOWN)
    assert server.ids(aps.EVENT_JOB_ADDED) == ["works"]


def test_a_server_that_is_away_holds_up_the_end_for_a_limited_time_only():
    code = "scheduler.start()\natexit.register(lambda: scheduler.shutdown())"
    ended = run(code, f"http://127.0.0.1:{free_port()}", EXIT=0.3)
    assert "is unavailable (Connection refused)" in ended.stderr
    assert "/event: 4 event(s)" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_forked_processes_send_their_own_events_and_no_others(start_server):
    slow = Gate()
    server = start_server(answer=slow)
    code = """
from apscheduler.events import JobEvent
listener(JobEvent(1024, "parent-0", "default"))
listener(JobEvent(1024, "parent-1", "default"))
child = os.fork()
who = "parent" if child else "child"
listener(JobEvent(1024, f"{who}-2", "default"))
os.write(1, f"{who} {listener.waiting}\\n".encode())
if child:
    assert os.waitpid(child, 0)[1] == 0
"""
    opener = threading.Thread(target=lambda: (wait_until(lambda: slow.arrived == 2), slow.open()))
    opener.start()
    ended = run(code, server.url)
    opener.join(TIMEOUT)
    assert sorted(ended.stdout.splitlines()) == ["child 1", "parent 3"]
    assert sorted(server.ids(1024)) == ["child-2", "parent-0", "parent-1", "parent-2"]
    assert len(server.connections) == 2


def test_a_forked_process_opens_a_connection_of_its_own(server):
    code = """
from apscheduler.events import JobEvent
listener(JobEvent(1024, "before", "default"))
assert listener.flush(20)
if child := os.fork():
    assert os.waitpid(child, 0)[1] == 0
listener(JobEvent(1024, "parent" if child else "child", "default"))
assert listener.flush(20)
"""
    run(code, server.url)
    assert server.ids(1024) == ["before", "child", "parent"]
    assert len(server.connections) == 2
