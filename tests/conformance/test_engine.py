"""Workers on both stores: order, retries, turns, waking up, stopping, freezing, and mistakes of handlers."""

import logging
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

import psycopg
import pytest
from sqlalchemy import func, insert, make_url, select, update

from extension_kit.deliveries.handler import Handler
from extension_kit.deliveries.outbox import Outbox
from extension_kit.deliveries.requeue import requeue
from extension_kit.deliveries.tables import CLAIMED, LATER, READY, WAITING, attempts, deliveries, events
from extension_kit.engine.claiming import Claiming
from extension_kit.store.database import Database
from extension_kit.store.migrate import upgrade
from tests.support.leftovers import new_name
from tests.support.recording import entry
from tests.support.waiting import wait_until
from tests.support.workers import DELIVERED, QUICKLY, TIMEOUT, Attempts, always, failed, working

QUICK = [(f"listener-{number}", 0.0, True) for number in range(13)]
"""Earlier attempts of listeners."""


def opened(url):
    database = Database(url)
    upgrade(database)
    return database


@pytest.fixture
def tables():
    """Those of the kit."""
    return ()


@pytest.fixture
def database(database_url):
    database = opened(database_url)
    yield database
    database.dispose()


@pytest.fixture(autouse=True)
def no_polling(monkeypatch):
    """Workers start what they are told of, or find out themselves, and nothing by luck."""
    monkeypatch.setattr("extension_kit.engine.scribe._POLL", 3600.0)


def add(database, *names, listener="listener", lock=None):
    """Record an event for each name, with one listener; in their order, if they have a lock."""
    Outbox(database).record([entry(name, listener, series=lock) for name in names])


def named(first, number):
    return [str(name) for name in range(first, first + number)]


def counted(database, *conditions):
    with database.read() as connection:
        return connection.execute(select(func.count()).select_from(deliveries).where(*conditions)).scalar_one()


def all_ended(database):
    """Whether no delivery waits."""
    return not counted(database, deliveries.c.status == WAITING)


def told_order(names):
    return list(dict.fromkeys(names))


class TestOrder:
    def test_deliveries_of_a_lock_are_made_one_after_the_other_in_the_order_of_their_events(self, database):
        attempts = Attempts()
        with working(database, attempts):
            add(database, "3", "1", "2", lock="a")
            add(database, "9", "8", lock="a")
            wait_until(lambda: all_ended(database))
        assert attempts.started == attempts.ended == ["3", "1", "2", "9", "8"]

    def test_one_that_is_repeated_keeps_its_place(self, database):
        attempts = Attempts({"1": [failed(), failed()], "2": [failed()]})
        add(database, "1", "2", "3", lock="a")
        add(database, "4", lock="b")
        with working(database, attempts):
            wait_until(lambda: all_ended(database))
        assert [name for name in attempts.started if name != "4"] == ["1", "1", "1", "2", "2", "3"]

    def test_one_that_waits_holds_back_those_behind_it_and_no_others(self, database):
        times = {}
        attempts = Attempts({"1": [failed(0.5)]})

        def make(due):
            times[due.event_id, due.number] = datetime.now(UTC)
            return attempts(due)

        add(database, "1", "2", lock="a")
        with working(database, make):
            wait_until(lambda: "1" in attempts.ended)
            add(database, "3", lock="b")
            wait_until(lambda: all_ended(database))
        assert times["1", 1] < times["3", 1] < times["1", 2] < times["2", 1]
        assert (times["1", 2] - times["1", 1]).total_seconds() >= 0.5

    def test_deliveries_of_different_locks_and_without_one_are_made_at_the_same_time_on_all_threads(
        self, database, monkeypatch
    ):
        monkeypatch.setattr("extension_kit.engine.shares.SLOW", 3600.0)  # slow listeners would leave threads free
        barrier = threading.Barrier(4)

        def make(due):
            barrier.wait(TIMEOUT)
            return DELIVERED

        for number in range(12):
            add(database, str(number), listener=f"listener-{number}", lock=f"lock-{number}" if number % 2 else None)
        with working(database, make, experience=lambda: QUICK):
            wait_until(lambda: all_ended(database))
        assert not barrier.broken

    def test_no_more_are_made_at_the_same_time_than_there_are_threads(self, database, monkeypatch):
        monkeypatch.setattr("extension_kit.engine.shares.SLOW", 3600.0)  # slow attempts would be made up for
        go, looks = threading.Event(), []
        attempts = Attempts(hold=dict.fromkeys(named(0, 13), go))
        claim = Claiming.claim

        def noting(*arguments, **more):
            claimed = claim(*arguments, **more)
            looks.append(len(attempts.started))
            return claimed

        monkeypatch.setattr(Claiming, "claim", noting)
        for number in range(12):
            add(database, str(number), listener=f"listener-{number}")
        with working(database, attempts, experience=lambda: QUICK):
            try:
                wait_until(lambda: len(attempts.started) >= 4)
                before = len(looks)
                add(database, "12", listener="listener-12")  # has the worker look again
                wait_until(lambda: len(looks) > before)
                assert len(attempts.started) == 4
            finally:
                go.set()
            wait_until(lambda: all_ended(database))

    def test_two_workers_share_the_work_in_order_through_failures(self, database):
        """On SQLite one of them stands by."""
        attempts = Attempts({f"{key}-{number}": [failed()] for key in range(12) for number in range(8)})
        with working(database, attempts), working(database, attempts, name="two"):
            for number in range(8):
                for key in range(12):
                    add(database, f"{key}-{number}", lock=f"key-{key}")
            wait_until(lambda: all_ended(database))
        for key in range(12):
            mine = [name for name in attempts.started if name.startswith(f"{key}-")]
            assert mine == [f"{key}-{number}" for number in range(8) for _ in range(2)]


class TestTurns:
    """Listeners take turns, and leave threads to each other."""

    @contextmanager
    def hanging(self, database, *listeners, jobs=20, **options):
        """A worker whose attempts for these listeners do not end; yields what it attempts."""
        go = threading.Event()
        names = named(0, jobs * len(listeners))
        attempts = Attempts(hold=dict.fromkeys(names, go))
        entries = [entry(name, listeners[int(name) % len(listeners)]) for name in names]
        Outbox(database).record(entries)
        try:
            with working(database, attempts, **options):
                yield attempts
                go.set()
                wait_until(lambda: all_ended(database))
        finally:
            go.set()

    def test_a_long_backlog_of_one_does_not_keep_another_waiting(self, database):
        attempts = Attempts()
        add(database, *named(0, 50), listener="first")
        add(database, "second", listener="second")
        add(database, "third", "fourth", listener="third")
        with working(database, attempts, threads=1):
            wait_until(lambda: all_ended(database))
        others = [name for name in attempts.started if not name.isdigit()]
        assert others == ["second", "third", "fourth"]
        assert set(others) < set(attempts.started[:7])
        assert [name for name in attempts.started if name.isdigit()] == named(0, 50)

    @pytest.mark.parametrize(("listeners", "threads"), [(2, 9), (3, 8), (200, 16), (5, 4)])
    def test_those_who_hang_get_half_of_the_threads_together(self, database, listeners, threads):
        """And others go on at once; one that is new, too, unless very many are."""
        attempts, go = Attempts(), threading.Event()
        bad = named(0, 3 * listeners)
        with working(database, attempts, threads=threads):
            self.deliver(database, attempts, "quick", named(1000, 3))
            attempts.hold(dict.fromkeys(bad, go))
            Outbox(database).record([entry(name, f"bad-{int(name) % listeners:03}") for name in bad])
            try:
                wait_until(lambda: sum(name in bad for name in attempts.started) >= 2)
                for first in (2000, 2100):
                    self.deliver(database, attempts, "quick", named(first, 10))
                    time.sleep(1.1)  # in which those who hang are found out to be slow
                if listeners < threads // 2:
                    for name, first in (("new", 3000), ("newer", 4000)):
                        self.deliver(database, attempts, name, named(first, 10))
                assert sum(name in bad for name in attempts.started) <= threads // 2
            finally:
                go.set()
            wait_until(lambda: all_ended(database))

    def deliver(self, database, attempts, listener, names):
        """Record events one after the other, each of which is delivered before the next is recorded."""
        for name in names:
            add(database, name, listener=listener)
            wait_until(lambda name=name: name in attempts.ended)

    @pytest.mark.parametrize("threads", [8, 3, 2])
    @pytest.mark.parametrize("known", [True, False])
    def test_one_listener_uses_all_threads_and_gives_way_to_others_even_if_it_hangs(self, database, threads, known):
        attempts, go = Attempts(), threading.Event()
        bad = set(named(0, 20))
        if known:
            add(database, *named(500, 10), listener="a")
        with working(database, attempts, threads=threads):
            wait_until(lambda: all_ended(database))
            attempts.hold(dict.fromkeys(bad, go))
            add(database, *sorted(bad), listener="a")
            try:
                wait_until(lambda: len(bad & set(attempts.started)) == threads)
                self.deliver(database, attempts, "quick", named(1000, 10))
                assert len(bad & set(attempts.started)) == threads
            finally:
                go.set()
            wait_until(lambda: all_ended(database))

    def test_tenants_take_turns_before_their_listeners(self, database):
        """One with many listeners gets no more than one with a single one."""
        attempts = Attempts()
        Outbox(database).record([entry(f"big-{number}", f"big/{number % 20:02}") for number in range(60)])
        add(database, *(f"small-{number}" for number in range(10)), listener="small/0")
        add(database, *(f"tiny-{number}" for number in range(5)), listener="tiny/0")
        with working(database, attempts, threads=1, tenants_of=tenants_of):
            wait_until(lambda: all_ended(database))
        tenants = [name.partition("-")[0] for name in attempts.started]
        assert Counter(tenants) == {"big": 60, "small": 10, "tiny": 5}
        # A listener that is found to be quick has its next delivery claimed beside the one in progress.
        assert {"big", "small", "tiny"} == set(tenants[:4])
        assert tenants[:40].count("small") == 10
        assert tenants[:30].count("tiny") == 5
        big = [int(name.partition("-")[2]) % 20 for name in attempts.started if name.startswith("big")]
        assert len(set(big[:25])) >= 18

    def test_a_tenant_whose_targets_hang_leaves_room_to_another(self, database):
        names = [f"bad/{number:03}" for number in range(40)]
        with self.hanging(database, *names, jobs=2, threads=16, tenants_of=tenants_of) as attempts:
            wait_until(lambda: len(attempts.started) >= 3)
            self.deliver(database, attempts, "good/1", named(1000, 5))
            self.deliver(database, attempts, "good/2", named(2000, 5))
            assert len([name for name in attempts.started if int(name) < 1000]) <= 8

    def test_a_single_thread_serves_everybody_in_turn(self, database):
        attempts = Attempts()
        for number in range(3):
            for listener in ("one", "two"):
                add(database, f"{listener}-{number}", listener=listener, lock="same")
        with working(database, attempts, threads=1):
            wait_until(lambda: all_ended(database))
        assert set(attempts.started[:2]) == {"one-0", "two-0"}
        for listener in ("one", "two"):
            mine = [name for name in attempts.started if name.startswith(listener)]
            assert mine == [f"{listener}-{number}" for number in range(3)]

    def test_attempts_past_their_timeout_count_until_they_end(self, database):
        go = threading.Event()
        hung, other = [], Attempts()

        def hang(due):
            hung.append(due.event_id)
            assert go.wait(TIMEOUT)
            return DELIVERED

        def find(listener, connection):
            return Handler(hang if listener == "a" else other, QUICKLY, 0.1 if listener == "a" else 60.0)

        add(database, *named(0, 8), listener="a")
        with working(database, find=find, threads=4):
            try:
                wait_until(lambda: len(hung) >= 2)
                for name in named(100, 10):
                    self.deliver(database, other, "b", [name])
                assert len(hung) <= 6  # as many as there are threads, and extra threads
            finally:
                go.set()
            wait_until(lambda: all_ended(database))
        assert Counter(hung).keys() == set(named(0, 8))

    def test_one_due_delivery_of_a_listener_is_among_the_first_beside_20_000_of_another(self, database):
        now = datetime.now(UTC)
        event = {"source": "test", "name": "a.b", "body": b"{}", "received_at": now}
        with database.transaction() as connection:
            connection.execute(
                insert(events), [{**event, "ref": ref, "event_id": str(ref)} for ref in range(1, 20_001)]
            )
            each = {"listener": "many", "created_at": now, "due_at": now, "stage": READY}
            rows = [
                {**each, "event_ref": ref, "shard": 0 if database.is_sqlite else ref % 32} for ref in range(1, 20_001)
            ]
            connection.execute(insert(deliveries), rows)
            if not database.is_sqlite:  # which were given numbers that the sequence does not know of
                connection.exec_driver_sql("SELECT setval(pg_get_serial_sequence('events', 'ref'), 20000)")
        add(database, "one", listener="one")
        attempts = Attempts()
        with working(database, attempts):
            wait_until(lambda: "one" in attempts.started)
        assert attempts.started.index("one") < 200


def tenants_of(listeners):
    return {listener: listener.partition("/")[0] for listener in listeners}


class TestOnPostgresql:
    def test_listeners_take_turns_whatever_the_database_sorts_by(self, postgresql_server):
        """By ICU's rules for English, ``page_all`` comes before ``page@``; by the numbers of characters, after it."""
        with psycopg.connect(postgresql_server, autocommit=True) as connection:
            name, english = new_name(), "TEMPLATE template0 ENCODING 'UTF8' LOCALE_PROVIDER icu ICU_LOCALE 'en-US'"
            try:
                connection.execute(f"CREATE DATABASE {name} {english}")
            except psycopg.errors.FeatureNotSupported:
                pytest.skip("this PostgreSQL has no ICU")
            url = make_url(postgresql_server).set(database=name).render_as_string(hide_password=False)
            try:
                self.play_turns(opened(url))
            finally:
                connection.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def play_turns(self, database):
        attempts = Attempts()
        with working(database, attempts):
            for name, listener in enumerate(["page@", "page_all@", "page@", "page_all@", "page_all@"]):
                add(database, str(name), listener=listener)
                wait_until(lambda name=name: str(name) in attempts.ended)
        database.dispose()

    def test_one_recorded_while_the_one_before_it_ends_does_not_wait_for_it_for_ever(self, postgresql_url):
        """Its transaction sees the other as it was; it is committed after the other's end, or before."""
        database = opened(postgresql_url)
        attempts = Attempts()
        with working(database, attempts):
            for number in range(20):
                go = threading.Event()
                attempts.hold({f"first-{number}": go})
                add(database, f"first-{number}", lock="a")
                wait_until(lambda number=number: f"first-{number}" in attempts.started)
                with database.transaction() as connection:
                    Outbox(database).write(connection, [entry(f"second-{number}", "listener", series="a")])
                    go.set()
                    if number % 2:
                        wait_until(lambda: all_ended(database))
                wait_until(lambda number=number: f"second-{number}" in attempts.ended)
            wait_until(lambda: all_ended(database))
        database.dispose()
        assert attempts.started == [f"{place}-{number}" for number in range(20) for place in ("first", "second")]


class TestGuards:
    def test_the_end_of_an_attempt_does_not_count_once_others_have_taken_its_delivery(self, database, caplog):
        go = threading.Event()
        attempts = Attempts(hold={"1": go})
        add(database, "1", lock="a")
        with working(database, attempts):
            wait_until(lambda: attempts.started)
            with database.transaction() as connection:
                connection.execute(update(deliveries).values(stage=READY, claimed_at=None))
            go.set()
            wait_until(lambda: all_ended(database))
        assert attempts.started == ["1", "1"]
        assert caplog.text.count("ended too late, result ignored") == 1


class TestWakingUp:
    def test_deliveries_are_made_when_their_transaction_is_committed_and_only_then(self, database):
        attempts, outbox = Attempts(), Outbox(database)
        with working(database, attempts):
            with suppress(ZeroDivisionError), database.transaction() as connection:
                outbox.write(connection, [entry("1", "listener")])
                raise ZeroDivisionError
            with database.transaction() as connection:
                outbox.write(connection, [entry("2", "listener")])
            wait_until(lambda: attempts.ended)
        assert attempts.started == ["2"]

    def test_those_of_other_processes_are_heard_of(self, database):
        attempts = Attempts()
        command = [sys.executable, "-m", "tests.support.recording", database.url.render_as_string(hide_password=False)]
        with working(database, attempts):
            subprocess.run([*command, "listener", *named(0, 5)], input=b"\n", check=True, timeout=60)
            wait_until(lambda: set(attempts.ended) == set(named(0, 5)))
            wait_until(lambda: all_ended(database))

    def test_those_that_nobody_told_of_are_found_by_looking_now_and_then(self, postgresql_url, monkeypatch):
        database = opened(postgresql_url)
        monkeypatch.setattr("extension_kit.engine.scribe._POLL", 0.1)
        monkeypatch.setattr("extension_kit.deliveries.outbox.notify_workers", lambda connection: None)
        attempts = Attempts()
        with working(database, attempts):
            wait_until(lambda: heard(database))
            add(database, "1")
            wait_until(lambda: attempts.ended)
        database.dispose()


def heard(database):
    """Whether a worker waits for notifications."""
    with database.read() as connection:
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN %%'"
        return connection.exec_driver_sql(waiting).scalar_one()


class TestRequeue:
    def test_what_is_being_attempted_is_neither_made_beside_that_nor_again(self, database):
        go = threading.Event()
        attempts = Attempts(hold={"1": go})
        add(database, "1", "2", lock="a")
        with working(database, attempts):
            wait_until(lambda: attempts.started)
            with database.transaction() as connection:
                requeue(connection)
            go.set()
            wait_until(lambda: all_ended(database))
        assert attempts.started == ["1", "2"]


class TestMistakes:
    def test_a_handler_that_raises_is_logged_and_called_again_and_holds_up_no_other(self, database, caplog):
        attempts = Attempts({"1": [KeyError("oops"), SystemExit(3), StopIteration()]})
        add(database, "1", "2", lock="a")
        add(database, "3", lock="b")
        with working(database, attempts), caplog.at_level(logging.INFO):
            wait_until(lambda: all_ended(database))
        assert [name for name in attempts.started if name != "3"] == ["1", "1", "1", "1", "2"]
        errors = [record for record in caplog.records if record.levelno == logging.ERROR]
        assert len(errors) == 3
        assert "Unhandled exception in the handler of listener" in errors[0].getMessage()
        assert "oops" in caplog.text

    def test_a_handler_that_cannot_be_found_holds_up_no_other(self, database, caplog):
        attempts = Attempts()

        def find(listener, connection):
            if listener == "bad":
                raise KeyError(listener)
            return always(attempts)(listener, connection)

        add(database, "1", listener="bad")
        add(database, "2", listener="good")
        with working(database, find=find):
            waits = deliveries.c.error.contains("KeyError") & (deliveries.c.stage == LATER)
            wait_until(lambda: counted(database, waits) and attempts.ended)
        assert attempts.started == ["2"]
        assert "Cannot find the handler of bad" in caplog.text

    def test_ordinary_work_is_not_logged(self, database, caplog):
        with caplog.at_level(logging.INFO):
            add(database, "1", "2", lock="a")
            with working(database, Attempts()):
                wait_until(lambda: all_ended(database))
        assert not caplog.records

    def test_functions_that_hang_hold_up_no_others_and_have_the_process_replaced(self, database):
        go, asked = threading.Event(), threading.Event()
        quick = Attempts()

        def hang(due):
            go.wait(TIMEOUT)
            return DELIVERED

        def find(listener, connection):
            return Handler(hang if listener == "hangs" else quick, QUICKLY, 0.05 if listener == "hangs" else 60.0)

        add(database, *named(0, 10), listener="hangs")
        with working(database, find=find, renew=asked.set) as worker:
            try:
                for name in named(100, 30):
                    add(database, name, listener="quick")
                    wait_until(lambda name=name: name in quick.ended)
                tried = deliveries.c.error.contains("did not return within")
                wait_until(lambda: counted(database, tried))
                worker.stop()
            finally:
                go.set()


class TestStopping:
    def test_what_runs_is_ended_and_nothing_more_begun(self, database):
        go = threading.Event()
        attempts = Attempts(hold={"1": go})
        add(database, "0", lock="b")
        with working(database, attempts) as worker:
            wait_until(lambda: attempts.ended)  # so that the listener is quick, and more are claimed at once
            add(database, "1", "2", "3", lock="a")
            wait_until(lambda: len(attempts.started) == 2)
            worker.stop()
            go.set()
        assert attempts.ended == ["0", "1"]
        assert counted(database, deliveries.c.stage == CLAIMED) == 0
        assert counted(database, deliveries.c.status == WAITING) == 2

    def test_what_does_not_end_within_the_grace_period_is_handed_back_and_made_by_others_in_its_place(self, database):
        go = threading.Event()
        stuck = Attempts(hold={"1": go})
        add(database, "1", "2", lock="a")
        with working(database, stuck, grace_period=0.1):
            wait_until(lambda: stuck.started)
        after = Attempts()
        with working(database, after, name="two"):
            wait_until(lambda: all_ended(database))
        go.set()
        assert after.started == ["1", "2"]
        with database.read() as connection:
            results = connection.execute(select(attempts.c.result).order_by(attempts.c.ref)).scalars().all()
            uncounted = connection.execute(select(deliveries.c.uncounted_attempts)).scalars().all()
        assert results == ["handed back", "delivered", "delivered"]
        assert sorted(uncounted) == [0, 1]

    def test_a_worker_that_has_been_stopped_before_it_runs_does_nothing(self, database):
        add(database, "1")
        attempts = Attempts()
        stopped = threading.Event()

        def experience():
            worker.stop()
            stopped.set()
            return ()

        waiting = threading.Event()

        def late():
            assert waiting.wait(TIMEOUT)
            return experience()

        with working(database, attempts, experience=late) as worker:
            waiting.set()
            assert stopped.wait(TIMEOUT)
        assert not attempts.started


class TestOutages:
    def lines(self, caplog):
        return [record.getMessage() for record in caplog.records if record.name == "extension_kit.engine"]

    @pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT])
    def test_a_postgresql_that_is_restarted_costs_two_lines_in_the_log(self, own_postgresql, caplog, how):
        """One that has crashed may have forgotten ends of attempts, which are made again."""
        database = opened(own_postgresql.url)
        go = threading.Event()
        attempts = Attempts({"1": [failed()]}, {"2": go})
        with caplog.at_level(logging.INFO), working(database, attempts):
            add(database, "1", "2", "3", lock="a")
            wait_until(lambda: "2" in attempts.started)
            own_postgresql.stop(how)
            wait_until(lambda: self.lines(caplog))
            go.set()
            wait_until(lambda: "2" in attempts.ended)
            own_postgresql.start()
            wait_until(lambda: answered(database))
            add(database, "4", lock="a")
            wait_until(lambda: all_ended(database))
        database.dispose()
        started = told_order(attempts.started[1:]) if how == signal.SIGQUIT else attempts.started[1:]
        assert started == ["1", "2", "3", "4"]
        first, second = [line for line in self.lines(caplog) if not line.startswith("Took over")]
        assert first.startswith("Database unavailable, deliveries paused: The database postgresql://")
        assert second.startswith("Deliveries resumed after ")

    def test_a_postgresql_that_is_gone_does_not_keep_a_worker_from_stopping(self, own_postgresql, caplog):
        database = opened(own_postgresql.url)
        go = threading.Event()
        attempts = Attempts(hold={"1": go})
        add(database, "1", lock="a")
        database.dispose()
        with caplog.at_level(logging.INFO), working(database, attempts, grace_period=0.5):
            wait_until(lambda: attempts.started)
            own_postgresql.stop()
            go.set()
            wait_until(lambda: attempts.ended)
        assert len(self.lines(caplog)) == 2
        assert "stopped while the database was unavailable" in self.lines(caplog)[1]

    def test_a_worker_starts_before_its_database(self, own_postgresql, caplog):
        database = opened(own_postgresql.url)
        add(database, "1", lock="a")
        database.dispose()
        own_postgresql.stop()
        attempts = Attempts()
        with caplog.at_level(logging.INFO), working(database, attempts):
            wait_until(lambda: self.lines(caplog))
            own_postgresql.start()
            wait_until(lambda: attempts.ended)

    def test_a_sqlite_file_that_others_keep_locked_costs_two_lines_in_the_log(self, tmp_path, caplog, monkeypatch):
        monkeypatch.setattr("extension_kit.store.sqlite.WAIT", 0.1)
        monkeypatch.setattr("extension_kit.engine.presence._SHORT", 0.01)
        database = opened(f"sqlite:///{tmp_path}/extension.db")
        attempts = Attempts()
        add(database, "1", "2", lock="a")
        locking = sqlite3.connect(tmp_path / "extension.db", isolation_level=None)
        locking.execute("BEGIN IMMEDIATE")
        with caplog.at_level(logging.INFO), working(database, attempts):
            wait_until(lambda: self.lines(caplog))
            locking.execute("COMMIT")
            wait_until(lambda: all_ended(database))
        locking.close()
        database.dispose()
        assert attempts.started == ["1", "2"]
        first, second = self.lines(caplog)
        assert "is locked" in first
        assert second.startswith("Deliveries resumed after ")


def answered(database):
    with suppress(Exception):
        return counted(database) >= 0
