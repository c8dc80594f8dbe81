"""All commands behind PgBouncer: with pool_mode=session, or with pool_mode=transaction and a direct URL for workers."""

import json
import os
import signal
import urllib.request
from contextlib import ExitStack

import psycopg
import pytest
from sqlalchemy import make_url

from tests.conformance.load import load
from tests.support.commands import extension_kit
from tests.support.durable import prepared, statuses
from tests.support.ledgers import ended, strictly_ordered, wait_for_all
from tests.support.paths import APPS, KIT
from tests.support.poolers import pgbouncer
from tests.support.servers import GUNICORN, ready, run_server
from tests.support.waiting import wait_until

DIRECT = "EXTENSION_DATABASE_DIRECT_URL"
REFUSED = (
    "a worker needs sessions of its own, and the pooler gives each transaction another one: set EXTENSION_DATABASE"
)

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(params=["session", "transaction"])
def pool_mode(request):
    return request.param


@pytest.fixture
def pooled_url(postgresql_url, pool_mode):
    with pgbouncer(postgresql_url, pool_mode, default_pool_size=40 if pool_mode == "session" else 4) as url:
        yield url


@pytest.fixture
def environment(postgresql_url, pooled_url, pool_mode, ledger):
    direct = {DIRECT: postgresql_url} if pool_mode == "transaction" else {}
    return {**prepared(pooled_url, ledger), **direct}


def test_serve_and_its_worker(serve, environment, ledger, event, postgresql_url):
    with serve() as server:
        ready(server)
        with load(server, event, "/events/fails-first", keys=4, pause=0.02) as senders:
            senders.wait_for_more(40)
        wait_for_all(senders.accepted, ledger)
        wait_until(lambda: statuses(postgresql_url).keys() == {"delivered"})
        assert strictly_ordered(ledger)
        assert server.health("readiness") == 200
        assert server.stop() == 143
        assert server.log.count("Traceback") == server.log.count(" raised on experiment.")


def test_a_worker_that_is_killed_is_taken_over(serve, work, ledger, event, postgresql_url):
    retry = ",".join(["0.02"] * 200)  # so that no run of bad luck makes a dead letter
    with serve("--no-worker", RETRY=retry) as server, ExitStack() as workers:
        ready(server)
        first = workers.enter_context(work(RETRY=retry))
        with load(server, event, "/events/fails-first", keys=4, pause=0.1) as senders:
            wait_until(lambda: ended(ledger))
            workers.enter_context(work(RETRY=retry))
            senders.wait_for_more()
            os.killpg(first.process.pid, signal.SIGKILL)
            senders.wait_for_more()
            delivered = len(ended(ledger))
            wait_until(lambda: len(ended(ledger)) > delivered + 10)
            workers.enter_context(work(RETRY=retry))
            senders.wait_for_more()
        wait_for_all(senders.accepted, ledger)
        wait_until(lambda: statuses(postgresql_url).keys() == {"delivered"}, timeout=90)
    assert strictly_ordered(ledger)


def test_a_worker_that_waits_hears_of_an_event(serve, work, ledger, event):
    with serve("--no-worker") as server, work() as worker:
        ready(server)
        wait_until(lambda: "Delivery worker started" in worker.log)
        for number in range(20):
            assert server.post("/events/fast", event("killswitch.engaged", id=f"k{number}")).status == 200
            wait_until(lambda name=f"k{number}": name in ended(ledger))


def test_connections_that_the_pooler_ends(serve, ledger, event, pooled_url):
    server_name = make_url(pooled_url)
    console = server_name.set(database="pgbouncer", query={}).render_as_string(hide_password=False)
    with serve() as server:
        ready(server)
        for number in range(3):
            assert server.post("/events/fast", event("killswitch.engaged", id=f"k{number}")).status == 200
            wait_until(lambda name=f"k{number}": name in ended(ledger))
            with psycopg.connect(console, autocommit=True) as connection:
                connection.execute(f"KILL {server_name.database}")
                connection.execute(f"RESUME {server_name.database}")
            ready(server)


def test_wsgi(environment, tmp_path, ledger, event):
    command = [*GUNICORN, "extension_kit.wsgi:create_app('ledger.py')"]
    with run_server(command, tmp_path / "wsgi.log", **environment) as server:
        wait_until(lambda: "Booting worker" in server.log)
        assert server.post("/events/fast", event("killswitch.engaged", id="one")).status == 200
        wait_until(lambda: "one" in ended(ledger))


def test_commands(environment, serve, ledger, event, postgresql_url, tmp_path):
    with serve() as server:
        ready(server)
        assert server.post("/events/gives-up", event("killswitch.engaged", id="dead")).status == 200
        wait_until(lambda: statuses(postgresql_url) == {"dead": 1})
    settings = {name: value for name, value in environment.items() if name.startswith("EXTENSION_DATABASE")}

    def run(*arguments):
        found = extension_kit(*arguments, **settings)
        assert found.returncode == 0, found.stderr
        return found.stdout

    (dead,) = json.loads(run("deliveries", "list", "--json"))
    assert dead["status"] == "dead"
    assert "nobody is on call" in run("deliveries", "show", str(dead["delivery"]))
    assert "dead" in run("db", "status")
    run("receivers", "list")
    run("deliveries", "rebuild")
    run("deliveries", "replay", "--all")
    assert statuses(postgresql_url) == {"waiting": 1}
    pooled = settings["EXTENSION_DATABASE_URL"]
    assert "rows to sqlite" in run("db", "copy", pooled, f"sqlite:///{tmp_path}/copy.db")


class TestEmptyDatabase:
    def test_upgrade_and_copy(self, pooled_url, postgresql_url, tmp_path, event):
        with run_server([KIT, "serve", "ledger.py"], tmp_path / "early", EXTENSION_DATABASE_URL=pooled_url) as server:
            assert server.process.wait(60) == 2
            assert "has no tables yet: run `extension-kit db upgrade`" in server.log
        found = extension_kit("db", "upgrade", EXTENSION_DATABASE_URL=pooled_url)
        assert "Made the tables of the kit" in found.stdout, found.stderr
        with run_server([KIT, "serve", "ledger.py", "--no-worker"], tmp_path / "log") as server:
            ready(server)
            for number in range(30):
                assert server.post("/events/fast", event("killswitch.engaged", id=f"k{number}")).status == 200
        found = extension_kit("db", "copy", f"sqlite:///{tmp_path}/log.db", pooled_url)
        assert found.returncode == 0, found.stderr
        assert sum(statuses(postgresql_url).values()) == 30


def test_the_event_log(environment, serve, event, ledger):
    options = {"EXTENSION_EVENT_LOG_PORT": 0, "EXTENSION_EVENT_LOG_OPEN": "loopback"}
    with serve(**options) as server:
        ready(server)
        assert server.post("/events/fast", event("killswitch.engaged", id="one")).status == 200
        wait_until(lambda: "one" in ended(ledger))
        (line,) = wait_until(lambda: [line for line in server.log.splitlines() if "Event log at " in line])
        url = line.rpartition("Event log at ")[2].split()[0]
        for page in ("api/events", "api/overview", ""):
            with urllib.request.urlopen(f"{url.rstrip('/')}/{page}", timeout=30) as answer:
                assert answer.status == 200
                assert answer.read()


class TestRefusals:
    """What cannot work is refused at the start, in words that tell what to set."""

    @pytest.fixture
    def pool_mode(self):
        return "transaction"

    def refused(self, *arguments, **settings):
        found = extension_kit(*arguments, **settings)
        assert found.returncode == 2
        assert found.stderr.count("\n") == 1
        return found.stderr

    @pytest.mark.parametrize("command", [["worker"], ["serve"]])
    def test_no_direct_url(self, environment, command, work, serve):
        with (work if command == ["worker"] else serve)(**{DIRECT: ""}) as started:
            assert started.process.wait(60) == 2
            assert REFUSED in started.log
            assert "Traceback" not in started.log

    def test_a_server_without_a_worker_needs_none(self, serve, event):
        with serve("--no-worker", **{DIRECT: ""}) as server:
            ready(server)
            assert server.post("/events/fast", event("killswitch.engaged", id="one")).status == 200

    def test_wsgi_without_a_direct_url(self, environment, tmp_path):
        command = [*GUNICORN, "extension_kit.wsgi:create_app('ledger.py')"]
        with run_server(command, tmp_path / "wsgi.log", **{**environment, DIRECT: ""}) as server:
            assert server.process.wait(60)
            assert REFUSED in server.log

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"port": 1}, "EXTENSION_DATABASE_DIRECT_URL cannot be used: The database postgresql://"),
            ({"database": "no_such"}, "cannot be reached (connection failed: "),
            ({"database": "postgres"}, "EXTENSION_DATABASE_DIRECT_URL names other tables, those of postgresql://"),
        ],
    )
    def test_a_wrong_direct_url(self, environment, work, postgresql_url, change, said):
        wrong = make_url(postgresql_url).set(password="hush", **change).render_as_string(hide_password=False)
        with work(**{DIRECT: wrong}) as started:
            assert started.process.wait(60) == 2
            assert said in started.log
            assert "hush" not in started.log

    def test_pool_mode_statement(self, postgresql_url, environment, serve):
        with pgbouncer(postgresql_url, "statement") as url, serve(EXTENSION_DATABASE_URL=url) as started:
            assert started.process.wait(60) == 2
            assert "allows no transactions" in started.log
            assert "give it pool_mode=transaction or pool_mode=session" in started.log

    def test_a_file(self):
        said = self.refused("serve", APPS / "ledger.py", **{DIRECT: "postgresql://h/d"})
        assert "EXTENSION_DATABASE_DIRECT_URL is set, but EXTENSION_DATABASE_URL is not, or names a SQLite file" in said
        said = self.refused("serve", APPS / "ledger.py", **{DIRECT: "sqlite:///extension.db"})
        assert "EXTENSION_DATABASE_DIRECT_URL" in said
        assert "postgresql://USER:PASSWORD@HOST/DATABASE" in said
