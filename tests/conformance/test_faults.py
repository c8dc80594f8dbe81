"""Trouble with the database, with a worker, with a neighbour: what was answered with 200 is delivered nevertheless."""

import json
import signal
import sqlite3
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from functools import partial
from typing import NamedTuple

import psycopg
import pytest

from tests.conformance.load import load
from tests.support.disks import small_disk
from tests.support.durable import prepared, statuses
from tests.support.filing import filed_at
from tests.support.ledgers import ended, lines, run_event, strictly_ordered
from tests.support.proxies import proxy
from tests.support.servers import ready
from tests.support.waiting import wait_until


def assert_asked_to_come_again(refused):
    assert {reply.status for reply in refused} == {503}
    assert all(int(reply.headers["retry-after"]) >= 1 for reply in refused)


def assert_no_mistakes(log):
    """The only tracebacks in a log are those of functions that raised."""
    assert log.count("Traceback") == log.count(" raised on experiment.")


def delivering(server, ledger, event):
    """Wait until the server takes events and its worker delivers them."""
    ready(server)
    assert server.post("/events/plain", run_event(event, 100, 0)).status == 200
    wait_until(lambda: ended(ledger) == ["100-0"])


class TestPostgresqlRestarted:
    @pytest.fixture
    def environment(self, own_postgresql, ledger):
        return prepared(own_postgresql.url, ledger)

    def test_under_load(self, own_postgresql, serve, ledger, event):
        with serve() as server:
            delivering(server, ledger, event)
            with load(server, event, "/events/fails-first", pause=0.02) as senders:
                for how in (signal.SIGINT, signal.SIGQUIT):  # stopped in good order, and crashed
                    delivered = len(ended(ledger))
                    wait_until(lambda before=delivered: len(ended(ledger)) > before + 5)
                    own_postgresql.stop(how)
                    refused = len(senders.refused)
                    wait_until(lambda before=refused: len(senders.refused) > before + 5)
                    assert server.health("readiness") == 503
                    assert server.health("liveness") == 200
                    own_postgresql.start()
                    senders.wait_for_more(20)
                    assert server.health("readiness") == 200
            assert_asked_to_come_again(senders.refused)
            wait_until(lambda: set(senders.accepted) <= set(ended(ledger)))
            wait_until(lambda: statuses(own_postgresql.url).keys() == {"delivered"})
            assert strictly_ordered(ledger)
            assert_no_mistakes(server.log)

    def test_what_succeeded_meanwhile_is_not_done_again(self, own_postgresql, serve, ledger, event):
        with serve(SLOW=1) as server:
            delivering(server, ledger, event)
            assert server.post("/events/slow", run_event(event, 1, 0)).status == 200
            wait_until(lambda: ["1-0", "slow"] in lines(ledger, "start"))
            own_postgresql.stop()
            wait_until(lambda: ["1-0", "slow"] in lines(ledger, "end"))
            own_postgresql.start()
            wait_until(lambda: statuses(own_postgresql.url) == {"delivered": 2})
        assert len(lines(ledger, "start")) == 2
        assert_no_mistakes(server.log)

    def test_with_a_worker_of_its_own(self, own_postgresql, serve, work, ledger, event):
        with serve("--no-worker") as server:
            ready(server)
            assert server.post("/events/plain", run_event(event, 1, 0)).status == 200
            with work() as worker:
                wait_until(lambda: ended(ledger) == ["1-0"])
                wait_until(lambda: worker.health("readiness") == 200)
                own_postgresql.stop()
                wait_until(lambda: worker.health("readiness") == 503)
                own_postgresql.start()
                wait_until(lambda: worker.health("readiness") == 200)
                assert server.post("/events/plain", run_event(event, 1, 1)).status == 200
                wait_until(lambda: ended(ledger) == ["1-0", "1-1"])


class TestConnectionsDropped:
    @pytest.fixture
    def database_url(self, postgresql_url):
        return postgresql_url

    @pytest.fixture
    def drop(self, database_url):
        """Drop the connections that wait for a lock, or all that others have to the database."""
        with psycopg.connect(database_url, autocommit=True) as connection:

            def drop(waiting_for="%"):
                others = (
                    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name LIKE %s "
                    "AND coalesce(wait_event_type, '') LIKE %s"
                )
                return connection.execute(others, ["%", waiting_for]).fetchone()[0]

            yield drop

    def test_while_an_event_is_committed(self, serve, ledger, event, database_url, drop):
        body = run_event(event, 1, 0)
        with serve() as server:
            ready(server)
            with psycopg.connect(database_url) as holder, ThreadPoolExecutor() as pool:
                holder.execute("LOCK TABLE inbox IN ROW EXCLUSIVE MODE")
                holder.execute("LOCK TABLE inbox IN ACCESS EXCLUSIVE MODE")
                reply = pool.submit(server.post, "/events/plain", body)

                def is_answered():
                    drop("Lock")  # also that of the worker, which looks for events
                    return reply.done()

                wait_until(is_answered)
                assert_asked_to_come_again([reply.result()])
            assert filed_at(database_url) == 0
            assert statuses(database_url) == {}
            assert server.post("/events/plain", body).status == 200
            wait_until(lambda: ended(ledger) == ["1-0"])

    def test_while_an_event_is_filed(self, serve, ledger, event, database_url, drop):
        with serve() as server:
            delivering(server, ledger, event)
            with psycopg.connect(database_url) as holder:
                holder.execute("LOCK TABLE deliveries IN ROW EXCLUSIVE MODE")
                holder.execute("LOCK TABLE deliveries IN ACCESS EXCLUSIVE MODE")
                for number in range(3):
                    assert server.post("/events/plain", run_event(event, 1, number)).status == 200
                    wait_until(lambda: drop("Lock"))
            wait_until(lambda: ended(ledger) == ["100-0", "1-0", "1-1", "1-2"])
            wait_until(lambda: statuses(database_url) == {"delivered": 4})
            assert_no_mistakes(server.log)

    def test_again_and_again_under_load(self, serve, ledger, event, database_url, drop):
        with serve() as server:
            delivering(server, ledger, event)
            with load(server, event, "/events/fails-first") as senders:
                wait_until(lambda: len(ended(ledger)) > 5)
                for _ in range(10):
                    senders.wait_for_more(5)
                    assert drop()
            wait_until(lambda: set(senders.accepted) <= set(ended(ledger)))
            wait_until(lambda: statuses(database_url).keys() == {"delivered"})
            assert strictly_ordered(ledger)
            assert_no_mistakes(server.log)


class Way(NamedTuple):
    """A database, what processes that use it are started with, and what makes it hang."""

    url: str
    environment: dict
    hanging: Callable[[], AbstractContextManager[None]]


class TestDatabaseThatHangs:
    """It neither answers nor fails: what comes is refused in time, then at once, and goes on when it is back.

    On SQLite this is the file of the inbox.
    """

    LIMIT = 2

    @pytest.fixture(params=["sqlite", "postgresql"])
    def way(self, request, tmp_path, ledger):
        if request.param == "postgresql":
            url = request.getfixturevalue("postgresql_url")
            environment = prepared(url, ledger)
            with proxy(url) as made:
                yield Way(url, {**environment, "EXTENSION_DATABASE_URL": made.url}, made.hanging)
            return
        url = f"sqlite:///{tmp_path}/extension.db"
        yield Way(url, prepared(url, ledger), partial(frozen_writer, f"{tmp_path}/extension.db-inbox"))

    @pytest.fixture
    def environment(self, way):
        return {**way.environment, "EXTENSION_STORE_TIMEOUT": self.LIMIT}

    def test_is_as_bad_as_one_that_fails(self, serve, ledger, event, way):
        with serve() as server:
            delivering(server, ledger, event)
            with ThreadPoolExecutor(20) as pool, way.hanging():
                replies = list(pool.map(lambda n: server.post("/events/plain", run_event(event, 1, n)), range(20)))
                assert_asked_to_come_again(replies)
                wait_until(lambda: server.health("readiness") == 503)
                assert server.health("liveness") == 200
                began = time.monotonic()
                later = [server.post("/events/plain", run_event(event, 2, number)) for number in range(50)]
                assert_asked_to_come_again(later)
                assert time.monotonic() - began < 25 * self.LIMIT  # and not 50 times
                assert server.log.count(" not stored: ") + server.log.count("Events cannot be stored: ") == 1
            wait_until(lambda: server.health("readiness") == 200)
            wait_until(lambda: server.post("/events/plain", run_event(event, 3, 0)).status == 200)
            wait_until(lambda: "3-0" in ended(ledger))
            assert_no_mistakes(server.log)

    def test_does_not_keep_a_server_from_ending(self, serve, ledger, event, way):
        with serve() as server:
            delivering(server, ledger, event)
            wait_until(lambda: statuses(way.url) == {"delivered": 1})  # what is to be written down is waited for
            with way.hanging(), closing(server.connect()) as connection:
                headers = {"Content-Type": "application/json"}
                connection.request("POST", "/events/plain", json.dumps(run_event(event, 1, 0)), headers)
                assert server.request("GET", "/health/liveness").status == 200  # so that one has been read, too
                assert server.stop() == 143
                answer = connection.getresponse()
                assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
                assert answer.headers["Content-Type"] == "application/json"
            assert_no_mistakes(server.log)


@contextmanager
def frozen_writer(path):
    """A process that stands still in the middle of a transaction of a SQLite file."""
    writes = f"""
import sqlite3, sys
connection = sqlite3.connect({path!r}, isolation_level=None, timeout=30)
connection.execute("BEGIN IMMEDIATE")
connection.execute("CREATE TABLE unfinished (number INTEGER)")
print("writing", flush=True)
sys.stdin.read()
"""
    with subprocess.Popen([sys.executable, "-c", writes], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"writing\n"
        process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            process.kill()


class TestFileOfTheInbox:
    """On SQLite: without it no event is accepted."""

    @pytest.fixture
    def database_url(self, tmp_path):
        return f"sqlite:///{tmp_path}/extension.db"

    @pytest.fixture
    def path(self, tmp_path):
        return tmp_path / "extension.db-inbox"

    def test_removed_and_put_back(self, serve, ledger, event, path):
        """What is in no file is not said to be stored."""
        with serve() as server:
            delivering(server, ledger, event)
            with load(server, event, "/events/plain", pause=0.01) as senders:
                senders.wait_for_more(20)
                for ending in ("", "-wal", "-shm"):
                    path.with_name(f"{path.name}{ending}").rename(path.with_name(f"gone.db{ending}"))
                refused = len(senders.refused)
                wait_until(lambda: len(senders.refused) > refused + 20)
                wait_until(lambda: server.health("readiness") == 503)
                assert "extension.db-inbox was removed while it was in use: put the same file back; or" in server.log
                for ending in ("", "-wal", "-shm"):
                    path.with_name(f"gone.db{ending}").rename(path.with_name(f"{path.name}{ending}"))
                senders.wait_for_more(20)
                wait_until(lambda: server.health("readiness") == 200)
            assert_asked_to_come_again(senders.refused)
            assert server.log.count("stored: The database") == 1
            wait_until(lambda: set(senders.accepted) <= set(ended(ledger)))
            assert strictly_ordered(ledger)
            assert_no_mistakes(server.log)

    def test_that_refuses_events(self, serve, work, ledger, event, path):
        """Without an event, readiness says so; of the server and of a worker."""
        with serve("--no-worker") as server, work() as worker:
            ready(server)
            wait_until(lambda: worker.health("readiness") == 200)
            with closing(sqlite3.connect(path, timeout=30)) as connection:
                connection.execute(STRICT.format(table="inbox"))
                wait_until(lambda: server.health("readiness") == worker.health("readiness") == 503)
                assert_asked_to_come_again([server.post("/events/plain", run_event(event, 1, 0)) for _ in range(3)])
                assert server.log.count("refuses to store an event (not today)") == 1
                assert server.request("GET", "/health/readiness").status == 503  # beside the listeners, too
                assert server.health("liveness") == 200
                connection.execute("DROP TRIGGER strict")
            wait_until(lambda: server.health("readiness") == worker.health("readiness") == 200)
            assert server.post("/events/plain", run_event(event, 1, 0)).status == 200
            wait_until(lambda: ended(ledger) == ["1-0"])
            assert_no_mistakes(server.log)

    def test_locked_by_another_process(self, serve, ledger, event, database_url, path):
        """Before the first event, and under load."""
        with serve() as server:
            ready(server)
            with locked(path):
                wait_until(lambda: server.health("readiness") == 503)
                assert "Events cannot be stored: The database sqlite:///" in server.log
            delivering(server, ledger, event)
            with load(server, event, "/events/fails-first", pause=0.02) as senders:
                wait_until(lambda: len(ended(ledger)) > 5)
                with locked(path):
                    accepted = len(senders.accepted)
                    wait_until(lambda: senders.refused)
                    wait_until(lambda: server.health("readiness") == 503)
                    # Those whose commit was over when the lock was taken may have had their answer after it.
                    assert len(senders.accepted) <= accepted + 3
                senders.wait_for_more(20)
                assert server.health("readiness") == 200
            assert_asked_to_come_again(senders.refused)
            wait_until(lambda: set(senders.accepted) <= set(ended(ledger)))
            wait_until(lambda: statuses(database_url).keys() == {"delivered"})
            assert strictly_ordered(ledger)
            assert_no_mistakes(server.log)


class TestSqliteFile:
    """The file of the database: without it events are accepted all the same, and filed and delivered later."""

    @pytest.fixture
    def database_url(self, tmp_path):
        return f"sqlite:///{tmp_path}/extension.db"

    @pytest.fixture
    def path(self, tmp_path):
        return tmp_path / "extension.db"

    def test_removed_and_replaced(self, serve, ledger, event, path):
        """What is in no file is not taken for filed, and another file is taken by all processes."""
        with serve() as server:
            delivering(server, ledger, event)
            with closing(sqlite3.connect(path.with_name("backup.db"))) as backup:
                with closing(sqlite3.connect(path)) as connection:
                    connection.backup(backup)
                backup.execute("DELETE FROM events")
                backup.commit()
            with load(server, event, "/events/plain", pause=0.01) as senders:
                senders.wait_for_more(20)
                for ending in ("", "-wal", "-shm"):
                    path.with_name(f"{path.name}{ending}").rename(path.with_name(f"gone.db{ending}"))
                wait_until(lambda: "Database unavailable, filing of events paused" in server.log)
                senders.wait_for_more(20)
                assert server.health("readiness") == server.request("GET", "/health/readiness").status == 200
                assert "extension.db was removed while it was in use: put the same file back; or stop" in server.log
                path.with_name("backup.db").rename(path)
                wait_until(lambda: "was replaced, restarting this process" in server.log)
                senders.wait_for_more(20)
            assert senders.refused == []
            with closing(sqlite3.connect(path.with_name("gone.db"))) as gone:
                before = {event_id for (event_id,) in gone.execute("SELECT event_id FROM events")}
            wait_until(lambda: set(senders.accepted) <= set(ended(ledger)) | before)
            assert server.post("/events/plain", run_event(event, 9, 0)).status == 200
            wait_until(lambda: "9-0" in ended(ledger))
            assert_no_mistakes(server.log)

    def test_that_refuses_events(self, serve, work, ledger, event, database_url, path):
        """They are set aside and filed later, and the worker is not ready."""
        with serve("--no-worker") as server, work() as worker:
            ready(server)
            wait_until(lambda: worker.health("readiness") == 200)
            with closing(sqlite3.connect(path, timeout=30)) as connection:
                connection.execute(STRICT.format(table="deliveries"))
                assert server.post("/events/plain", run_event(event, 1, 0)).status == 200
                wait_until(lambda: "of the inbox cannot be filed, again in a minute" in worker.log)
                wait_until(lambda: worker.health("readiness") == 503)
                assert "refuses to store an event (not today)" in worker.log
                assert server.health("readiness") == server.request("GET", "/health/readiness").status == 200
                connection.execute("DROP TRIGGER strict")
            wait_until(lambda: worker.health("readiness") == 200)
            assert server.post("/events/plain", run_event(event, 1, 1)).status == 200
            wait_until(lambda: ended(ledger) == ["1-1"])
            with closing(sqlite3.connect(f"{path}-inbox", timeout=30)) as connection:
                connection.execute("UPDATE inbox SET set_aside_at = '2026-01-01 00:00:00'")  # a minute is long
                connection.commit()
            wait_until(lambda: ended(ledger) == ["1-1", "1-0"])
            wait_until(lambda: statuses(database_url) == {"delivered": 2})

    def test_locked_by_another_process_for_long(self, serve, ledger, event, database_url, path):
        """Longer than a transaction may take."""
        with serve(EXTENSION_STORE_TIMEOUT=0.5) as server:
            delivering(server, ledger, event)
            with load(server, event, "/events/fails-first", pause=0.02) as senders:
                wait_until(lambda: len(ended(ledger)) > 5)
                with locked(path):
                    wait_until(lambda: "Database unavailable, filing of events paused" in server.log)
                    before = len(ended(ledger))
                    senders.wait_for_more(50)
                    assert server.health("readiness") == server.request("GET", "/health/readiness").status == 200
                    assert len(ended(ledger)) <= before + 3
                wait_until(lambda: "Filing of events resumed after" in server.log)
                senders.wait_for_more(20)
            assert senders.refused == []
            wait_until(lambda: set(senders.accepted) <= set(ended(ledger)))
            wait_until(lambda: statuses(database_url).keys() == {"delivered"})
            assert strictly_ordered(ledger)
            assert_no_mistakes(server.log)

    def test_that_another_process_holds_while_the_server_ends(self, serve, ledger, event, database_url, path):
        with serve() as server:
            delivering(server, ledger, event)
            wait_until(lambda: statuses(database_url) == {"delivered": 1})  # else it is made again
            with locked(path):
                assert server.post("/events/plain", run_event(event, 1, 0)).status == 200
                assert server.stop() == 143
        with serve() as server:
            wait_until(lambda: ended(ledger)[1:] == ["1-0"])
            wait_until(lambda: statuses(database_url) == {"delivered": 2})


STRICT = "CREATE TRIGGER strict BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'not today'); END"


@contextmanager
def locked(path):
    """Another process writes to a SQLite file, and does not end."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


class TestFullDisk:
    @pytest.fixture
    def disk(self, tmp_path):
        with small_disk(tmp_path / "disk", "8m") as disk:
            yield disk

    @pytest.fixture
    def database_url(self, disk):
        return f"sqlite:///{disk}/extension.db"

    def test_is_survived(self, serve, ledger, event, disk, database_url):
        other = disk / "other"
        with serve() as server:
            delivering(server, ledger, event)
            with load(server, event, "/events/fails-first", pause=0.02) as senders:
                wait_until(lambda: len(ended(ledger)) > 5)
                fill(other)
                wait_until(lambda: len(senders.refused) > 20)
                wait_until(lambda: server.health("readiness") == 503)
                assert server.health("liveness") == 200
            accepted = senders.accepted
            other.unlink()
            wait_until(lambda: server.health("readiness") == 200)
            assert server.post("/events/plain", run_event(event, 9, 0)).status == 200
            wait_until(lambda: {*accepted, "9-0"} <= set(ended(ledger)))
            wait_until(lambda: statuses(database_url).keys() == {"delivered"})
            assert_asked_to_come_again(senders.refused)
            assert strictly_ordered(ledger)
            assert_no_mistakes(server.log)


class TestDiskFilledWithEvents:
    @pytest.fixture
    def disk(self, tmp_path):
        with small_disk(tmp_path / "disk", "30m") as disk:
            yield disk

    @pytest.fixture
    def database_url(self, disk):
        return f"sqlite:///{disk}/extension.db"

    @pytest.fixture
    def environment(self, database_url, ledger):
        return {**prepared(database_url, ledger), "EXTENSION_RETENTION_MEGABYTES": 10}

    def test_is_cleaned(self, serve, ledger, event, disk, database_url):
        """Although cleaning takes room, too; and once others have left none, when they have given some back."""
        large = {**event("experiment.execution.created"), "note": "x" * 300_000}
        refused = []
        with serve() as server:
            ready(server)
            for number in range(300):  # three times what fits
                while (reply := server.post("/events/plain", {**large, "id": f"{number}-0"})).status != 200:
                    refused.append(reply)
                    time.sleep(0.02)
            wait_until(lambda: statuses(database_url).keys() == {"delivered"})
            wait_until(lambda: server.health("readiness") == 200)
            assert_no_mistakes(server.log)
        assert len(set(ended(ledger))) == 300
        assert_asked_to_come_again(refused)
        assert refused
        fill(disk / "other")
        with serve() as server:
            wait_until(lambda: server.health("liveness") == 200)
            (disk / "other").unlink()
            wait_until(lambda: server.health("readiness") == 200)
            assert server.post("/events/plain", {**large, "id": "last"}).status == 200
            wait_until(lambda: "last" in ended(ledger))
            assert_no_mistakes(server.log)


def fill(path):
    """Write until there is no room for more."""
    with path.open("wb", buffering=0) as file:
        for size in (65536, 512):
            with suppress(OSError):
                while file.write(size * b"x"):
                    pass


class TestFrozenWorker:
    @pytest.fixture
    def database_url(self, postgresql_url):
        """On SQLite, no other worker can take over from one that stands still."""
        return postgresql_url

    def test_it_leaves_to_others_what_they_have_taken_over(self, serve, work, ledger, event, database_url):
        with serve("--no-worker") as server, work(SLOW=1) as frozen:
            ready(server)
            for number in range(3):
                for key in range(5):
                    assert server.post("/events/slow", run_event(event, key, number)).status == 200
            wait_until(lambda: len(lines(ledger, "start")) == 5)
            frozen.process.send_signal(signal.SIGSTOP)
            with work(SLOW=0):
                wait_until(lambda: len(ended(ledger)) == 15)
                wait_until(lambda: statuses(database_url) == {"delivered": 15})
                frozen.process.send_signal(signal.SIGCONT)
                wait_until(lambda: frozen.log.count("ended too late") == 5)
                for key in range(5):
                    assert server.post("/events/slow", run_event(event, key, 3)).status == 200
                wait_until(lambda: len(set(ended(ledger))) == 20)
            assert server.post("/events/plain", run_event(event, 9, 0)).status == 200
            wait_until(lambda: "9-0" in ended(ledger))
            wait_until(lambda: statuses(database_url) == {"delivered": 21})
        assert strictly_ordered(ledger)
        runs = Counter(event_id for event_id, *_ in lines(ledger, "start"))
        assert {event_id for event_id, count in runs.items() if count > 1} == {f"{key}-0" for key in range(5)}
        assert max(runs.values()) == 2


class TestNeighbours:
    @pytest.mark.parametrize("bad", ["always-fails", "hangs"])
    def test_who_is_in_order_does_not_feel_who_is_not(self, serve, ledger, event, bad):
        with serve(app="neighbours.py") as server:
            ready(server)
            self.latency(server, ledger, event)
            before = self.latency(server, ledger, event)
            for number in range(40):
                assert server.post(f"/events/{bad}", event("killswitch.engaged", id=f"bad-{number}")).status == 200
            wait_until(lambda: server.log.count("failed, retry in") >= 8)
            meanwhile = self.latency(server, ledger, event)
            assert meanwhile < 5 * before

    def latency(self, server, ledger, event):
        """The median of the seconds from an event to the start of its function."""
        waits = []
        for _ in range(20):
            body = event("killswitch.engaged")
            sent = time.monotonic()
            assert server.post("/events/healthy", body).status == 200
            started = wait_until(lambda body=body: dict(lines(ledger, "start")).get(body["id"]))
            waits.append(float(started) - sent)
        print(waits)
        return statistics.median(waits)


class TestBacklog:
    def test_what_waits_is_delivered_after_a_restart_in_the_middle(self, serve, work, ledger, event, database_url):
        with serve("--no-worker") as server:
            ready(server)
            with load(server, event, "/events/slow", keys=8, most=15) as senders:
                senders.wait()
        assert ended(ledger) == []
        assert filed_at(database_url) == 120
        assert statuses(database_url) == {"waiting": 120}
        with serve(SLOW=0.05) as server:
            wait_until(lambda: len(ended(ledger)) > 12)
            assert server.stop() == 143
        assert len(ended(ledger)) < 120
        with work(SLOW=0):
            wait_until(lambda: len(ended(ledger)) >= 120, timeout=60)
            wait_until(lambda: statuses(database_url) == {"delivered": 120})
        assert strictly_ordered(ledger)
        assert set(Counter(ended(ledger)).values()) == {1}
