"""The processes of a server around its database: which are started again, which end, and what they leave behind."""

import os
import signal
import sqlite3
import time
from contextlib import closing, contextmanager
from dataclasses import replace

import pytest

from extension_kit.runtime.durable import DurableRuntime
from extension_kit.runtime.periodic import Intervals
from extension_kit.settings.kit import Settings
from tests.support.durable import prepared
from tests.support.ledgers import ended, lines
from tests.support.paths import BIN
from tests.support.servers import ready, run_server, serve_app
from tests.support.waiting import wait_until

WAITS = "Database unavailable, web process restarts"
FOR_EVER = {"EXTENSION_STALLED_AFTER": 3600}  # nobody takes over from another: what goes on was handed back


on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@contextmanager
def locked(database_url):
    with closing(sqlite3.connect(database_url.removeprefix("sqlite:///"), isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


def kill(server, word):
    """Kill the server's child with this word in its command line."""
    (pid,) = wait_until(lambda: server.children(word))
    os.kill(pid, signal.SIGKILL)
    return pid


def goes_on(server, ledger, event, name):
    """Whether events are taken and delivered again."""
    ready(server)
    assert server.post("/events/fast", event("killswitch.engaged", id=name)).status == 200
    wait_until(lambda: name in ended(ledger))


@on_sqlite
class TestWebProcessThatDiesWithoutTheDatabase:
    def test_while_another_process_writes(self, serve, ledger, event, database_url):
        with serve() as server:
            goes_on(server, ledger, event, "before")
            with locked(database_url):
                kill(server, "serve")
                wait_until(lambda: WAITS in server.log)
                assert server.health("readiness") == 503
            goes_on(server, ledger, event, "after")

    def test_while_postgresql_is_stopped(self, own_postgresql, serve, ledger, event):
        with serve(**prepared(own_postgresql.url, ledger)) as server:
            goes_on(server, ledger, event, "before")
            own_postgresql.stop()
            killed = kill(server, "serve")
            wait_until(lambda: WAITS in server.log)
            second = wait_until(lambda: server.children("serve") - {killed})
            wait_until(lambda: server.children("serve") - {killed} - second)
            assert server.log.count(WAITS) == 1
            own_postgresql.start()
            goes_on(server, ledger, event, "after")
            own_postgresql.stop()
            kill(server, "serve")
            wait_until(lambda: server.log.count(WAITS) == 2)
            assert server.stop() == 143


class TestSigterm:
    def test_a_server_hands_back_what_does_not_end(self, serve, work, ledger, event):
        with serve(SLOW=3600, EXTENSION_GRACE_PERIOD=6, **FOR_EVER) as server:
            ready(server)
            assert server.post("/events/slow", event("killswitch.engaged", id="a")).status == 200
            wait_until(lambda: len(lines(ledger, "start")) == 1)
            assert server.stop() == 143
        assert "Delivery worker killed" not in server.log
        with work(SLOW=0, **FOR_EVER):
            wait_until(lambda: ended(ledger) == ["a"])

    @pytest.mark.parametrize(("slow", "grace"), [(1, 20), (3600, 1)])
    def test_a_bare_wsgi_server_delivers_and_does_so_too(self, tmp_path, environment, work, ledger, event, slow, grace):
        options = {**environment, **FOR_EVER, "SLOW": slow, "EXTENSION_GRACE_PERIOD": grace}
        with serve_app("ledger", tmp_path / "log", edge="flask", **options) as server:
            assert server.post("/events/fast", event("killswitch.engaged", id="before")).status == 200
            wait_until(lambda: ended(ledger) == ["before"])
            assert server.post("/events/slow", event("killswitch.engaged", id="a")).status == 200
            wait_until(lambda: len(lines(ledger, "start")) == 1)
            assert server.stop() == 0
        assert "Traceback" not in server.log
        assert ended(ledger) == (["before", "a"] if slow < grace else ["before"])
        with work(SLOW=0, **FOR_EVER):
            wait_until(lambda: ended(ledger) == ["before", "a"])

    @on_sqlite
    def test_a_bare_wsgi_server_does_so_while_another_process_writes(
        self, tmp_path, environment, work, ledger, event, database_url
    ):
        options = {**environment, **FOR_EVER, "SLOW": 3600, "EXTENSION_GRACE_PERIOD": 1}
        with serve_app("ledger", tmp_path / "log", edge="flask", **options) as server:
            assert server.post("/events/slow", event("killswitch.engaged", id="a")).status == 200
            wait_until(lambda: len(lines(ledger, "start")) == 1)
            with locked(database_url):
                server.process.terminate()
                time.sleep(2)  # longer than the grace period, shorter than the database is waited for
            assert server.stop() == 0
        assert "Traceback" not in server.log
        with work(SLOW=0, **FOR_EVER):
            wait_until(lambda: ended(ledger) == ["a"])


@on_sqlite
class TestReload:
    def test_sighup_renews_both_processes(self, serve, ledger, event):
        with serve() as server:
            goes_on(server, ledger, event, "before")
            old = {word: server.children(word) for word in ("serve", "worker")}
            server.process.send_signal(signal.SIGHUP)
            for word, pids in old.items():
                wait_until(lambda word=word, pids=pids: server.children(word) - pids)
            wait_until(lambda: not any(os.path.exists(f"/proc/{pid}") for pids in old.values() for pid in pids))
            goes_on(server, ledger, event, "after")
            assert "restarting in" not in server.log

    def test_the_worker_takes_up_a_change_and_waits_out_a_broken_one(self, tmp_path, environment, ledger, event):
        code = (
            "from ledger import Event, Extension, note\n"
            "extension = Extension('changing')\n"
            "@extension.listen_to('*', path='/events/version')\n"
            "def version(event: Event) -> None: note('end', event.id, VERSION)\n"
        )
        file = tmp_path / "changing.py"
        ages = iter(range(5, 100, 5))

        def write(text):
            file.write_text(text)
            changed = time.time() + next(ages)
            os.utime(file, (changed, changed))

        write(code.replace("VERSION", "1"))
        command = [str(BIN / "extension-kit"), "serve", "--reload", str(file)]
        with run_server(command, tmp_path / "log", **environment) as server:

            def run(number):
                ready(server)
                assert server.post("/events/version", event("killswitch.engaged", id=f"e{number}")).status == 200
                wait_until(lambda: [f"e{number}", str(number)] in lines(ledger, "end"))

            run(1)
            write("def (")
            wait_until(lambda: server.health("readiness") == 503)
            wait_until(lambda: not server.children("worker"))
            write(code.replace("VERSION", "2"))
            run(2)
            assert server.log.count("Delivery worker stopped") == 1
            assert "restarting in" not in server.log
            assert server.stop() == 143


@on_sqlite
class TestServerKilled:
    def test_a_worker_that_is_being_started_ends_too(self, serve):
        with serve() as server:
            (worker,) = wait_until(lambda: server.children("worker"))
            server.process.kill()
            wait_until(lambda: not os.path.exists(f"/proc/{worker}"))


@on_sqlite
class TestNiceness:
    """The worker beside a server leaves it the first turn at the CPUs."""

    def test_is_the_workers_and_nobody_elses(self, serve, ledger, event):
        with serve(EXTENSION_WORKER_NICENESS=7) as server:
            goes_on(server, ledger, event, "a")
            given = os.getpriority(os.PRIO_PROCESS, 0)
            (worker,), (web,) = server.children("worker"), server.children("serve")
            assert niceness(worker) == {min(given + 7, 19)}
            assert niceness(web) == niceness(server.process.pid) == {given}

    def test_is_not_that_of_a_worker_by_itself(self, work, ledger):
        with work(EXTENSION_WORKER_NICENESS=7) as worker:
            wait_until(lambda: "Delivery worker started" in worker.log)
            assert niceness(worker.process.pid) == {os.getpriority(os.PRIO_PROCESS, 0)}


def niceness(process):
    """The niceness of all threads of a process."""
    return {os.getpriority(os.PRIO_PROCESS, int(thread)) for thread in os.listdir(f"/proc/{process}/task")}


@on_sqlite
class TestRetention:
    def test_goes_on_after_any_error(self, database_url, caplog):
        broken = replace(Settings(), database_url=database_url, retention_days=10**9)  # too many for a date
        house = DurableRuntime(broken, [], intervals=Intervals(retention=0.01))
        try:
            house.start_periodic_tasks()
            wait_until(lambda: caplog.text.count("OverflowError") > 1)
        finally:
            house.close(1)
