"""Workers that fall silent or die while a SQLite file is theirs: another takes their place, and nothing is lost."""

import http.client
import os
import signal
import sqlite3
import stat
import time
from contextlib import closing, suppress

import pytest

from tests.conformance.load import load
from tests.support.ledgers import ended, lines, run_event, strictly_ordered, wait_for_all
from tests.support.paths import BIN
from tests.support.servers import ready, run_server
from tests.support.waiting import wait_until

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

KILLED = "Delivery worker killed: no sign of life"
SOON = {"EXTENSION_STALLED_AFTER": 1, "EXTENSION_STORE_TIMEOUT": 0.5}

HANGS = """
import threading
from ledger import LEDGER, Event, Extension, note
from extension_kit.engine.scribe import Scribe

extension = Extension("hanging")
cycle = Scribe._cycle
hangs = threading.Event()

def hang(*given):
    if hangs.is_set():
        threading.Event().wait()
    cycle(*given)

Scribe._cycle = hang

@extension.listen_to("*", path="/events/hang")
def run(event: Event) -> None:
    note("end", event.id, "hang")
    if LEDGER.read_text() == "end first hang\\n":
        hangs.set()
"""
"""A handler file whose worker lives, but for its scribe, which hangs before it writes the end of the first run."""


@pytest.fixture
def path(database_url):
    return database_url.removeprefix("sqlite:///")


@pytest.fixture
def hanging(tmp_path):
    file = tmp_path / "hanging.py"
    file.write_text(HANGS)
    return str(file)


@pytest.fixture
def frozen():
    """Freeze processes, which go on at the end if they are still there."""
    frozen = []

    def freeze(pid):
        os.kill(pid, signal.SIGSTOP)
        frozen.append(pid)

    yield freeze
    for pid in frozen:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def worker_of(server):
    (pid,) = wait_until(lambda: server.children("worker"))
    return pid


def replaced(server, pid):
    wait_until(lambda: server.children("worker") - {pid})
    assert not os.path.exists(f"/proc/{pid}")


def is_locked(path):
    """Whether a process holds the write lock for longer than a transaction takes."""
    with closing(sqlite3.connect(path, isolation_level=None, timeout=0.5)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            return error.sqlite_errorcode == sqlite3.SQLITE_BUSY
        return False


def owner_of(path):
    """The process that makes the deliveries of a file, from the kernel's list of locks; None: there is none."""
    with suppress(FileNotFoundError):
        inode = os.stat(f"{path}-worker").st_ino
        with open("/proc/locks") as locks:
            for _, kind, *_, pid, file, _, _ in map(str.split, locks):
                if kind == "FLOCK" and file.endswith(f":{inode}"):
                    return int(pid)
    return None


class TestFrozenWorker:
    def test_is_replaced(self, serve, ledger, event, frozen):
        with serve(**SOON) as server:
            ready(server)
            with load(server, event, "/events/fails-first", pause=0.1) as senders:
                wait_until(lambda: ended(ledger))
                first = worker_of(server)
                frozen(first)
                replaced(server, first)
                before = len(ended(ledger))
                wait_until(lambda: len(ended(ledger)) > before + 5)
            wait_for_all(senders.accepted, ledger)
            assert server.log.count(KILLED) == 1
            assert "restarting in" not in server.log
            assert server.stop() == 143
        assert strictly_ordered(ledger)

    def test_is_replaced_with_the_database_locked(self, serve, ledger, event, frozen, path):
        """Events are accepted all the time."""
        with serve(**SOON) as server:
            ready(server)
            with load(server, event, "/events/plain", pause=0.01) as senders:
                self.freeze_with_lock(server, ledger, frozen, path)
                senders.wait_for_more(5)
            assert senders.refused == []
            wait_for_all(senders.accepted, ledger)
            assert server.log.count(KILLED) == 1
        assert strictly_ordered(ledger)

    def test_is_replaced_with_the_inbox_locked(self, serve, ledger, event, frozen, path):
        with serve(**SOON) as server:
            ready(server)
            with load(server, event, "/events/plain", pause=0.01) as senders:
                self.freeze_with_lock(server, ledger, frozen, f"{path}-inbox")
                senders.wait_for_more(5)
            assert {reply.status for reply in senders.refused} == {503}
            wait_for_all(senders.accepted, ledger)
            assert server.log.count(KILLED) == 1
        assert strictly_ordered(ledger)

    def freeze_with_lock(self, server, ledger, frozen, path):
        """Freeze the worker while it writes to a file, and wait until another has taken its place."""
        first = worker_of(server)
        wait_until(lambda: ended(ledger))
        frozen(first)
        while not is_locked(path):
            os.kill(first, signal.SIGCONT)
            os.kill(first, signal.SIGSTOP)
        assert KILLED not in server.log
        replaced(server, first)

    def test_is_one_of_which_the_scribe_hangs(self, serve, ledger, event, hanging):
        with serve(app=hanging, **SOON) as server:
            ready(server)
            first = worker_of(server)
            assert server.post("/events/hang", event("killswitch.engaged", id="first")).status == 200
            wait_until(lambda: ended(ledger) == ["first"])
            assert server.post("/events/hang", event("killswitch.engaged", id="second")).status == 200
            replaced(server, first)
            # A transaction that had begun before the scribe hung may have claimed the second.
            wait_until(lambda: ended(ledger).count("first") == 2 and "second" in ended(ledger))

    def test_that_is_being_renewed_is_killed_too(self, serve, ledger, event, frozen):
        with serve(**SOON) as server:
            ready(server)
            first = worker_of(server)
            assert server.post("/events/fast", event("killswitch.engaged", id="before")).status == 200
            wait_until(lambda: ended(ledger) == ["before"])
            frozen(first)
            server.process.send_signal(signal.SIGHUP)
            replaced(server, first)
            assert server.post("/events/fast", event("killswitch.engaged", id="after")).status == 200
            wait_until(lambda: "after" in ended(ledger))


class TestLivingWorker:
    def test_is_not_killed_while_the_database_is_locked_for_long(self, serve, ledger, event, path):
        with serve(**SOON) as server:
            ready(server)
            first = worker_of(server)
            assert server.post("/events/fast", event("killswitch.engaged", id="before")).status == 200
            wait_until(lambda: ended(ledger) == ["before"])
            with closing(sqlite3.connect(path, isolation_level=None)) as connection:
                connection.execute("BEGIN IMMEDIATE")
                # Longer than silence is borne with; only the time itself can show that nothing happens.
                time.sleep(8)
                connection.execute("ROLLBACK")
            ready(server)
            assert server.post("/events/fast", event("killswitch.engaged", id="after")).status == 200
            wait_until(lambda: "after" in ended(ledger))
            assert server.children("worker") == {first}
            assert KILLED not in server.log


class TestKilledWorker:
    def test_deliveries_go_on(self, serve, ledger, event):
        with serve(EXTENSION_STALLED_AFTER=3600) as server:
            ready(server)
            with load(server, event, "/events/fails-first", pause=0.1) as senders:
                for _ in range(2):
                    before = len(ended(ledger))
                    wait_until(lambda before=before: len(ended(ledger)) > before + 5)
                    killed = worker_of(server)
                    os.kill(killed, signal.SIGKILL)
                    replaced(server, killed)
            wait_for_all(senders.accepted, ledger)
        assert strictly_ordered(ledger)

    def test_beside_another_under_gunicorn(self, tmp_path, environment, ledger, event, path):
        config = tmp_path / "gunicorn.conf.py"
        config.write_text("import logging\nlogging.basicConfig(level=logging.INFO)\n")
        command = [
            str(BIN / "gunicorn"), "--config", str(config), "--bind", "127.0.0.1:{port}", "--worker-class", "gthread",
            "--threads", "4", "--workers", "2", "--no-control-socket", "extension_kit.wsgi:create_app('ledger.py')",
        ]  # fmt: skip
        with run_server(command, tmp_path / "log", **{**environment, "EXTENSION_STALLED_AFTER": 3600}) as server:

            def both_work():
                with suppress(OSError, http.client.HTTPException):
                    server.request("GET", "/")
                return server.log.count("Embedded delivery worker started") == 2 and "standing by" in server.log

            wait_until(both_work)
            for number in range(20):
                assert server.post("/events/slow", run_event(event, 7, number)).status == 200
            first = wait_until(lambda: owner_of(path))
            wait_until(lambda: lines(ledger, "start"))
            others = server.children(str(BIN / "gunicorn"))
            os.kill(first, signal.SIGKILL)
            second = wait_until(lambda: {owner_of(path)} - {first, None})
            assert second <= others - {first}  # and not the process that gunicorn starts in place of the first
            wait_until(lambda: len(set(ended(ledger))) == 20)
        assert strictly_ordered(ledger)

    def test_beside_another_worker(self, work, serve, ledger, event, path):
        with serve("--no-worker") as server, work() as one:
            ready(server)
            assert wait_until(lambda: owner_of(path)) == one.process.pid
            with work() as other:
                wait_until(lambda: "standing by" in other.log)
                one.process.kill()
                wait_until(lambda: owner_of(path) == other.process.pid)
                assert server.post("/events/fast", event("killswitch.engaged", id="a")).status == 200
                wait_until(lambda: ended(ledger) == ["a"])


class TestWorkerAlone:
    def test_tells_its_health_port_that_it_hangs(self, serve, work, event, hanging):
        with serve("--no-worker", app=hanging) as server, work(app=hanging, **SOON) as worker:
            ready(server)
            ready(worker)
            assert worker.health("liveness") == 200
            assert server.post("/events/hang", event("killswitch.engaged", id="first")).status == 200
            wait_until(lambda: worker.health("liveness") == 503)
            worker.process.kill()


class TestFileBesideTheDatabase:
    def test_is_the_owners_alone_and_stays(self, serve, path):
        with serve() as server:
            ready(server)
            wait_until(lambda: owner_of(path) == worker_of(server))
            assert stat.S_IMODE(os.stat(f"{path}-worker").st_mode) == 0o600
            server.stop()
        assert os.path.exists(f"{path}-worker")
        assert owner_of(path) is None
