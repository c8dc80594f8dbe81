"""``/metrics`` as Prometheus finds it: on the health port of servers and workers, right across their processes."""

import http.client
import itertools
import json
import os
import re
import signal
import socket
import sqlite3
from contextlib import ExitStack, closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from extension_kit.settings.kit import Settings
from tests.support.filing import filed_at
from tests.support.paths import APPS, BIN
from tests.support.servers import SERVE, listens, run_server
from tests.support.waiting import wait_until

ONCALL = """
from extension_kit import Event, Extension
{first}
extension = Extension("extension-oncall", version="1.2.3")

@extension.listen_to("killswitch.engaged", immediate=True)
def page(event: Event) -> None:
    {body}
"""
PAGE = "/events/page"


def fetch(port, path="/metrics", headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path, headers=headers or {})
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def parsed(text):
    """Values by name and labels, in the order of the labels' names."""
    families = text_string_to_metric_families(text)
    return {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}


def metrics(server):
    status, text = fetch(server.health_port)
    assert status == 200, text
    return parsed(text)


def received(server, status="200", path=PAGE):
    return metrics(server).get(("extension_events_received_total", path, status), 0)


def backlog(server):
    found = metrics(server)
    return found["extension_deliveries_waiting",], found["extension_deliveries_oldest_waiting_seconds",]


def unfiled(server):
    found = metrics(server)
    return found["extension_events_unfiled",], found["extension_events_oldest_unfiled_seconds",]


def lateness(answer):
    """The status of a readiness probe and the time in its sentence; None without one."""
    status, text = answer
    since = re.fullmatch(r"Not filed: 2 events, the oldest since (\S+)\. See that a worker runs\.", text)
    return since and (status, since[1])


def is_ready(server):
    assert server.process.poll() is None, server.log
    return server.health("readiness") == 200


@pytest.fixture
def start(tmp_path):
    """Serve a handler file with an immediate function, without waiting for anything."""
    numbers = itertools.count()

    def start(*, body="pass", first="", **environment):
        target = tmp_path / "oncall.py"
        target.write_text(ONCALL.format(body=body, first=first))
        log = tmp_path / f"server-{next(numbers)}.log"
        return run_server([*SERVE, str(target)], log, cwd=tmp_path, **environment)

    return start


@pytest.fixture
def numbers(tmp_path):
    """A directory that the server is given, so that a test can look into it."""
    return tmp_path / "numbers"


class TestAcrossProcesses:
    def test_every_request_is_counted_once_whichever_process_answered_it(self, start, event):
        counter = "from prometheus_client import Counter\nPAGES = Counter('oncall_pages', 'People that were paged.')"
        with start(first=counter, body="PAGES.inc()", EXTENSION_WEB_WORKERS=3) as server:
            wait_until(lambda: is_ready(server))
            wait_until(lambda: len(server.children("serve")) == 3)
            for _ in range(30):
                assert server.post(PAGE, event("killswitch.engaged")).status == 200
            for _ in range(4):
                assert server.post(PAGE, {}).status == 422
            assert server.post(PAGE, b"no json").status == 400
            assert server.request("GET", PAGE).status == 405
            found = metrics(server)
        for status, number in (("200", 30), ("422", 4), ("400", 1), ("405", 1)):
            assert found["extension_events_received_total", PAGE, status] == number
            assert found["extension_request_seconds_count", PAGE, status] == number
        refused = {key[2]: value for key, value in found.items() if key[0] == "extension_events_refused_total"}
        assert refused == {"422": 4, "400": 1, "405": 1}
        assert found["extension_build_info", "0.1.0", "extension-oncall", "1.2.3"] == 1
        assert found["oncall_pages_total",] == 30  # by the function itself

    def test_what_a_killed_process_counted_stays_and_its_successor_goes_on_with_it(self, start, event, numbers):
        with start(PROMETHEUS_MULTIPROC_DIR=numbers) as server:
            wait_until(lambda: is_ready(server))
            for turn in range(1, 4):
                assert server.post(PAGE, event("killswitch.engaged")).status == 200
                assert received(server) == turn
                (before,) = server.children("serve")
                os.kill(before, signal.SIGKILL)
                wait_until(lambda before=before: server.children("serve") - {before} and is_ready(server))
            assert len({name.partition(".")[0].rpartition("_")[2] for name in os.listdir(numbers)}) == 1

    def test_the_gauges_of_a_killed_process_do_not_linger(self, start, event):
        first = "from prometheus_client import Gauge\nBUSY = Gauge('busy', 'Of the kind', multiprocess_mode='livesum')"
        with start(first=first, body="BUSY.set(3)") as server:
            wait_until(lambda: is_ready(server))
            assert server.post(PAGE, event("killswitch.engaged")).status == 200
            assert metrics(server)["busy",] == 3
            (before,) = server.children("serve")
            os.kill(before, signal.SIGKILL)
            wait_until(lambda: server.children("serve") - {before} and is_ready(server))
            assert metrics(server)["busy",] == 0

    def test_events_that_wait_for_a_thread_are_shown(self, start, event, tmp_path):
        release = tmp_path / "release"
        first = f"""
import pathlib, time

def wait():
    while not pathlib.Path({str(release)!r}).exists():
        time.sleep(0.01)
"""
        with start(first=first, body="wait()", EXTENSION_WEB_THREADS=1) as server, ExitStack() as open_connections:
            wait_until(lambda: is_ready(server))
            for _ in range(4):
                connection = open_connections.enter_context(closing(server.connect()))
                connection.request("POST", PAGE, json.dumps(event("killswitch.engaged")))
            wait_until(lambda: metrics(server)["extension_pool_waiting",] == 3)
            release.touch()
            wait_until(lambda: metrics(server)["extension_pool_waiting",] == 0)

    def test_labels_hold_no_urls_that_a_client_made_up(self, start, event):
        with start() as server:
            wait_until(lambda: is_ready(server))
            for path in ("/made-up", f"{PAGE}/made-up", f"{PAGE}?made-up", "/made-up?made-up"):
                server.post(path, event("killswitch.engaged"))
            assert received(server) == 1
            assert "made-up" not in fetch(server.health_port)[1]
            # Without durable listeners there is nothing that waits.
            assert ("extension_deliveries_waiting",) not in metrics(server)


def directory_of(server):
    """Where the processes of a server keep their numbers."""
    (worker,) = server.children("serve")
    opened = [Path(os.readlink(link)) for link in Path(f"/proc/{worker}/fd").iterdir() if link.exists()]
    (directory,) = {path.parent for path in opened if path.parent.name.startswith("extension-kit-shared-")}
    return directory


class TestTheDirectory:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_it_is_gone_when_the_server_has_ended(self, start, event, number):
        with start() as server:
            wait_until(lambda: is_ready(server))
            directory = directory_of(server)
            assert directory.is_dir()
            server.stop(number)
            assert not directory.exists()

    def test_that_of_a_server_that_was_killed_goes_with_the_start_of_the_next_one(self, start, event):
        with start() as server:
            wait_until(lambda: is_ready(server))
            directory = directory_of(server)
            parts = server.children("serve") | server.children("worker")
            server.process.kill()
            wait_until(lambda: not any(Path(f"/proc/{part}").exists() for part in parts))
        with start() as server:
            wait_until(lambda: is_ready(server))
            assert not directory.exists()
            assert directory_of(server).is_dir()

    def test_one_that_is_given_is_used_and_left(self, start, event, numbers):
        with start(PROMETHEUS_MULTIPROC_DIR=numbers) as server:
            wait_until(lambda: is_ready(server))
            assert server.post(PAGE, event("killswitch.engaged")).status == 200
            assert received(server) == 1
            server.stop()
        assert any(name.startswith("histogram_") for name in os.listdir(numbers))

    def test_one_that_cannot_be_made_is_one_clear_line(self, start, numbers):
        numbers.touch()
        with start(PROMETHEUS_MULTIPROC_DIR=numbers) as server:
            assert server.process.wait(30) == 2
            lines = server.log.splitlines()
        assert len(lines) == 1
        assert "PROMETHEUS_MULTIPROC_DIR" in lines[0]


class TestOtherPorts:
    def test_a_unix_socket_has_the_page_beside_the_health_endpoints(self, start, event, tmp_path):
        path = tmp_path / "s"
        with start(STEADYBIT_EXTENSION_UNIX_SOCKET=path, EXTENSION_WEB_WORKERS=2) as server:

            def fetch_there(path_there, method="GET", body=None):
                with closing(http.client.HTTPConnection("localhost", timeout=30)) as connection:
                    connection.sock = socket.socket(socket.AF_UNIX)
                    connection.sock.connect(str(path))
                    connection.request(method, path_there, body)
                    response = connection.getresponse()
                    return response.status, response.read().decode()

            wait_until(lambda: path.exists() and "ready: true" in server.log)
            assert fetch_there("/health/readiness")[0] == 200
            for _ in range(10):
                assert fetch_there(PAGE, "POST", json.dumps(event("killswitch.engaged")))[0] == 200
            status, text = fetch_there("/metrics")
            assert status == 200, server.log
        assert parsed(text)["extension_events_received_total", PAGE, "200"] == 10

    def test_a_bare_wsgi_server_has_it_too(self, event, tmp_path):
        (tmp_path / "oncall.py").write_text(ONCALL.format(body="pass", first=""))
        command = [str(BIN / "gunicorn"), "--bind", "127.0.0.1:{port}", "--no-control-socket", "oncall:app"]
        with (tmp_path / "oncall.py").open("a") as target:
            target.write("app = extension.create_app()\n")
        with run_server(command, tmp_path / "log", cwd=tmp_path) as server:
            wait_until(lambda: listens(server))
            assert server.post(PAGE, event("killswitch.engaged")).status == 200
            assert server.post(PAGE, {}).status == 422
            status, text = fetch(server.port)
        assert status == 200
        found = parsed(text)
        assert found["extension_events_received_total", PAGE, "200"] == 1
        assert found["extension_events_refused_total", PAGE, "422"] == 1

    def test_where_agents_need_a_password_others_need_it_for_the_page(self, start):
        credentials = {"STEADYBIT_EXTENSION_BASIC_USERNAME": "agent", "STEADYBIT_EXTENSION_BASIC_PASSWORD": "secret"}
        with start(**credentials) as server:
            wait_until(lambda: is_ready(server))
            assert fetch(server.port)[0] == 401
            assert fetch(server.port, headers={"Authorization": "Basic YWdlbnQ6c2VjcmV0"})[0] == 200
            assert fetch(server.health_port)[0] == 200


class TestDeliveries:
    """Those of ``tests/apps/ledger.py``, which says how each of its functions ends."""

    @pytest.fixture
    def database_url(self, tmp_path):
        return f"sqlite:///{tmp_path}/extension.db"

    @pytest.fixture
    def run(self, tmp_path, database_url):
        """Run a command on the ledger, without waiting for anything."""
        (tmp_path / "ledger").touch()
        environment = {
            "EXTENSION_DATABASE_URL": database_url,
            "LEDGER": tmp_path / "ledger",
            "EXTENSION_STALLED_AFTER": 1,
        }

        def run(command, *options, **more):
            log = tmp_path / f"{command}.log"
            return run_server(
                [str(BIN / "extension-kit"), command, str(APPS / "ledger.py"), *options], log, **environment, **more
            )

        return run

    @staticmethod
    def results(server, function, path):
        found = metrics(server)
        listener = f"extension-ledger.{function}@/events/{path}"
        return {
            result: found["extension_deliveries_total", listener, result] for result in ("delivered", "failed", "dead")
        }

    def test_they_are_counted_from_the_commit_to_the_end(self, run, event):
        with run("serve", EXTENSION_WEB_WORKERS=2) as server:
            wait_until(lambda: is_ready(server))
            for _ in range(5):
                assert server.post("/events/plain", event("experiment.execution.created")).status == 200
            assert server.post("/events/always-fails", event("killswitch.engaged")).status == 200
            found = metrics(server)
            assert found["extension_events_recorded_total",] == 6
            assert found["extension_commit_events_sum",] == 6
            assert 1 <= found["extension_commit_seconds_count",] <= 6
            always_fails = {"delivered": 0, "failed": 2, "dead": 1}
            wait_until(lambda: self.results(server, "always_fails", "always-fails") == always_fails)
            wait_until(lambda: self.results(server, "plain", "plain") == {"delivered": 5, "failed": 0, "dead": 0})
            wait_until(lambda: backlog(server) == (0, 0))
            found = metrics(server)
            assert found["extension_delivery_attempt_seconds_count", "extension-ledger.plain@/events/plain"] == 5
            assert (
                found["extension_delivery_attempt_seconds_count", "extension-ledger.always_fails@/events/always-fails"]
                == 3
            )

    def test_those_of_a_worker_that_died_are_counted_too(self, run, event):
        with run("serve") as server:
            wait_until(lambda: is_ready(server))
            for turn in range(1, 3):
                assert server.post("/events/plain", event("experiment.execution.created")).status == 200
                wait_until(lambda turn=turn: self.results(server, "plain", "plain")["delivered"] == turn)
                (worker,) = server.children("worker")
                os.kill(worker, signal.SIGKILL)

    def test_how_much_waits_is_known_without_a_worker_and_to_a_worker_by_itself(self, run, event, database_url):
        with run("serve", "--no-worker") as server:
            wait_until(lambda: is_ready(server))
            for _ in range(3):
                assert server.post("/events/plain", event("experiment.execution.created")).status == 200
            wait_until(lambda: unfiled(server)[0] == 3)
            assert unfiled(server)[1] > 0
            assert backlog(server) == (0, 0)
            assert filed_at(database_url) == 3
            wait_until(lambda: backlog(server)[0] == 3)
            assert backlog(server)[1] > 0
            assert unfiled(server) == (0, 0)
            with run("worker") as worker:
                wait_until(lambda: is_ready(worker))
                assert worker.health("liveness") == 200
                wait_until(lambda: self.results(worker, "plain", "plain")["delivered"] == 3)
                for known in (worker, server):
                    wait_until(lambda known=known: backlog(known) == (0, 0))
                assert worker.stop() == 143

    def test_a_server_is_ready_and_says_since_when_events_are_not_filed(self, run, event, tmp_path):
        with run("serve", "--no-worker") as server:
            wait_until(lambda: is_ready(server))
            for _ in range(2):
                assert server.post("/events/plain", event("experiment.execution.created")).status == 200
            wait_until(lambda: unfiled(server)[0] == 2)
            assert fetch(server.health_port, "/health/readiness") == (200, "")
            since = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=100)
            with closing(sqlite3.connect(tmp_path / "extension.db-inbox", timeout=30)) as inbox:
                inbox.execute("UPDATE inbox SET received_at = ?", [since.replace(tzinfo=None).isoformat(" ")])
                inbox.commit()
            for port in (server.health_port, server.port):
                status, said = wait_until(lambda port=port: lateness(fetch(port, "/health/readiness")))
                assert status == 200
                assert abs(datetime.fromisoformat(said) - since) < timedelta(seconds=10)
            with run("worker") as worker:
                wait_until(lambda: is_ready(worker))
                for port in (server.health_port, server.port):
                    wait_until(lambda port=port: fetch(port, "/health/readiness") == (200, ""))

    def test_a_worker_is_not_ready_while_the_database_cannot_be_written(self, run, tmp_path):
        with run("worker") as worker:
            wait_until(lambda: is_ready(worker))
            with closing(sqlite3.connect(tmp_path / "extension.db", isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                wait_until(lambda: worker.health("readiness") == 503)
                assert worker.health("liveness") == 200
            wait_until(lambda: is_ready(worker))

    def test_a_taken_health_port_is_one_clear_line(self, run):
        with socket.socket() as taken:
            taken.bind(("0.0.0.0", 0))
            taken.listen()
            with run("worker", STEADYBIT_EXTENSION_HEALTH_PORT=taken.getsockname()[1]) as worker:
                assert worker.process.wait(30) == 2
                assert "STEADYBIT_EXTENSION_HEALTH_PORT" in worker.log.splitlines()[-1]

    def test_a_worker_beside_a_server_takes_another_health_port(self, run):
        """Where none is chosen: with the server's own, it could not run on the same machine."""
        usual = Settings().health_port
        with socket.socket() as taken:
            with suppress(OSError):  # it is taken already
                taken.bind(("0.0.0.0", usual))
                taken.listen()
            with run("worker", STEADYBIT_EXTENSION_HEALTH_PORT="") as worker:
                said = rf"Health port {usual} is in use, using port (\d+) instead; set STEADYBIT_EXTENSION_HEALTH_PORT "
                worker.health_port = int(wait_until(lambda: re.search(said, worker.log))[1])
                wait_until(lambda: is_ready(worker))


class TestWithoutTheLibrary:
    def test_the_server_serves_and_the_page_says_what_to_install(self, start, event, tmp_path):
        (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['prometheus_client'] = None\n")
        with start(PYTHONPATH=tmp_path) as server:
            wait_until(lambda: is_ready(server))
            assert server.post(PAGE, event("killswitch.engaged")).status == 200
            for port in (server.port, server.health_port):
                status, text = fetch(port)
                assert status == 404
                assert "pip install 'extension-kit[metrics]'" in text
