"""The queue and its workers on both stores: order, retries, waking up, stopping, dying, freezing, outages, and size."""

import logging
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from sqlalchemy import make_url

from extension_kit.engine.app import Engine, Job, Stats
from extension_kit.engine.making import Retry
from extension_kit.engine.worker import DeliveryWorker
from extension_kit.store.database import Database
from tests.conftest import wait_until
from tests.leftovers import new_name
from tests.workers import working

TIMEOUT = 20.0


def soon(seconds=0.01):
    return datetime.now(UTC) + timedelta(seconds=seconds)


def open_engine(url):
    database = Database(url)
    database.create()
    engine = Engine(database)
    with database.transaction() as connection:
        engine.create_tables(connection)
    return engine


@pytest.fixture
def engine(database_url):
    engine = open_engine(database_url)
    yield engine
    engine.database.dispose()


@pytest.fixture(autouse=True)
def no_polling(monkeypatch):
    """Workers start what they are told of, or find out themselves, and nothing by luck."""
    monkeypatch.setattr("extension_kit.engine.worker._POLL", 3600.0)


def add(engine, *jobs):
    with engine.database.transaction() as connection:
        engine.defer(connection, jobs)


class Attempts:
    """Notes what is attempted; ``outcomes`` are what the attempts of a delivery return, one after the other."""

    def __init__(self, outcomes=None, hold=None):
        self.started, self.ended = [], []
        self._outcomes = outcomes or {}
        self._hold = hold or {}
        self._lock = threading.Lock()

    def hold(self, events):
        """Have the attempts of some deliveries wait for events."""
        self._hold = events

    def __call__(self, ref):
        with self._lock:
            self.started.append(ref)
            left = self._outcomes.get(ref)
            outcome = left.pop(0) if left else None
        if ref in self._hold:
            assert self._hold[ref].wait(TIMEOUT)
        if isinstance(outcome, BaseException):
            raise outcome
        with self._lock:
            self.ended.append(ref)
        return outcome() if callable(outcome) else outcome


def empty(engine):
    return engine.stats() == Stats(0, None, 0)


class TestOrder:
    def test_jobs_of_a_lock_run_one_after_the_other_in_the_order_in_which_they_were_added(self, engine):
        attempts = Attempts()
        with working(engine, attempts):
            add(engine, *(Job(ref, "a", None) for ref in (3, 1, 2)))
            add(engine, *(Job(ref, "a", None) for ref in (9, 8)))
            wait_until(lambda: empty(engine))
        assert attempts.started == attempts.ended == [3, 1, 2, 9, 8]

    def test_a_job_that_is_retried_keeps_its_place(self, engine):
        attempts = Attempts({1: [soon, soon], 2: [soon]})
        add(engine, Job(1, "a", None), Job(2, "a", None), Job(3, "a", None), Job(4, "b", None))
        with working(engine, attempts):
            wait_until(lambda: empty(engine))
        assert [ref for ref in attempts.started if ref != 4] == [1, 1, 1, 2, 2, 3]

    def test_a_job_that_is_due_later_holds_back_those_behind_it_and_no_others(self, engine):
        due = soon(0.5)
        times = {}
        add(engine, Job(1, "a", due), Job(2, "a", None), Job(3, "b", None))
        with working(engine, lambda ref: times.setdefault(ref, datetime.now(UTC)) and None):
            wait_until(lambda: empty(engine))
        assert times[3] < due <= times[1] < times[2]

    def test_a_retry_under_another_lock_lets_the_next_one_pass(self, engine):
        attempts = Attempts({1: [lambda: Retry(soon(0.5), "recovery:1")]})
        add(engine, Job(1, "a", None), Job(2, "a", None))
        with working(engine, attempts):
            wait_until(lambda: empty(engine))
        assert attempts.started == [1, 2, 1]

    def test_jobs_of_different_locks_and_without_one_run_at_the_same_time_on_all_threads_and_no_more(self, engine):
        barrier = threading.Barrier(4)
        running, most, known = set(), [], []

        def attempt(ref):
            if ref >= 100:
                known.append(ref)
                return
            running.add(ref)
            most.append(len(running))
            barrier.wait(TIMEOUT)
            running.discard(ref)

        add(engine, *(Job(100 + ref, None, None, f"listener-{ref}") for ref in range(12)))
        with working(engine, attempt, concurrency=4):
            wait_until(lambda: len(known) == 12)  # to be quick, all of them
            add(engine, *(Job(ref, None if ref % 2 else f"lock-{ref}", None, f"listener-{ref}") for ref in range(12)))
            wait_until(lambda: empty(engine))
        assert max(most) <= 4

    def test_two_workers_share_the_work_in_order_through_failures(self, engine):
        refs = [(key, number) for number in range(8) for key in range(12)]
        attempts = Attempts({100 * key + number: [soon] for key, number in refs})
        other = open_engine(engine.database.url.render_as_string(hide_password=False))
        with working(engine, attempts), working(other, attempts, name="two"):
            for key, number in refs:
                add(engine, Job(100 * key + number, f"key-{key}", None))
            wait_until(lambda: empty(engine))
        other.database.dispose()
        for key in range(12):
            mine = [ref for ref in attempts.started if ref // 100 == key]
            assert mine == [100 * key + number for number in range(8) for _ in range(2)]


class TestTurns:
    """Listeners take turns, and leave threads to each other."""

    @contextmanager
    def hanging(self, engine, *listeners, jobs=20, **options):
        """A worker whose attempts for these listeners do not end; yields what it attempts."""
        go = threading.Event()
        refs = range(jobs * len(listeners))
        attempts = Attempts(hold=dict.fromkeys(refs, go))
        add(engine, *(Job(ref, None, None, listeners[ref % len(listeners)]) for ref in refs))
        try:
            with working(engine, attempts, **options):
                yield attempts
                go.set()
                wait_until(lambda: empty(engine))
        finally:
            go.set()

    def test_a_long_backlog_of_one_does_not_keep_another_waiting(self, engine):
        attempts = Attempts()
        add(engine, *(Job(ref, None, None, "first") for ref in range(50)), Job(100, None, None, "second"))
        add(engine, *(Job(ref, None, None, "third") for ref in range(200, 202)))
        with working(engine, attempts, concurrency=1):
            wait_until(lambda: empty(engine))
        assert [ref for ref in attempts.started[:5] if ref >= 100] == [100, 200, 201]
        assert [ref for ref in attempts.started if ref < 100] == list(range(50))

    @pytest.mark.parametrize(("listeners", "threads"), [(2, 9), (3, 8), (200, 16), (5, 4)])
    def test_those_who_hang_get_half_of_the_threads_together(self, engine, listeners, threads):
        """And others go on at once; one that is new, too, unless very many are."""
        attempts, go = Attempts(), threading.Event()
        refs = range(3 * listeners)
        with working(engine, attempts, concurrency=threads):
            self.deliver(engine, attempts, "quick", range(1000, 1003))
            attempts.hold(dict.fromkeys(refs, go))
            add(engine, *(Job(ref, None, None, f"bad-{ref % listeners:03}") for ref in refs))
            try:
                wait_until(lambda: sum(ref in refs for ref in attempts.started) >= 2)
                for first in (2000, 2100):
                    self.deliver(engine, attempts, "quick", range(first, first + 10))
                    time.sleep(1.1)  # in which those who hang are found out to be slow
                if listeners < threads // 2:
                    for name, first in (("new", 3000), ("newer", 4000)):
                        self.deliver(engine, attempts, name, range(first, first + 10))
                assert sum(ref in refs for ref in attempts.started) <= threads // 2
            finally:
                go.set()
            wait_until(lambda: empty(engine))

    def deliver(self, engine, attempts, listener, refs):
        """Add jobs one after the other, each of which is done before the next is added."""
        for ref in refs:
            add(engine, Job(ref, None, None, listener))
            wait_until(lambda ref=ref: ref in attempts.ended)

    @pytest.mark.parametrize("threads", [8, 3, 2])
    @pytest.mark.parametrize("known", [True, False])
    def test_one_listener_uses_all_threads_and_gives_way_to_others_even_if_it_hangs(self, engine, threads, known):
        attempts, go = Attempts(), threading.Event()
        if known:
            add(engine, *(Job(ref, None, None, "a") for ref in range(500, 510)))
        with working(engine, attempts, concurrency=threads):
            wait_until(lambda: empty(engine))
            attempts.hold(dict.fromkeys(range(20), go))
            add(engine, *(Job(ref, None, None, "a") for ref in range(20)))
            try:
                wait_until(lambda: len([ref for ref in attempts.started if ref < 20]) == threads)
                self.deliver(engine, attempts, "quick", range(1000, 1010))
                assert len([ref for ref in attempts.started if ref < 20]) == threads
            finally:
                go.set()
            wait_until(lambda: empty(engine))

    def test_tenants_take_turns_before_their_listeners(self, engine):
        """One with many listeners gets no more than one with a single one."""

        def tenants_of(listeners):
            return {listener: listener.partition("/")[0] for listener in listeners}

        attempts = Attempts()
        add(engine, *(Job(ref, None, None, f"big/{ref % 20:02}") for ref in range(60)))
        add(engine, *(Job(ref, None, None, "small/0") for ref in range(100, 110)))
        add(engine, *(Job(ref, None, None, "tiny/0") for ref in range(200, 205)))
        with working(engine, attempts, concurrency=1, tenants_of=tenants_of):
            wait_until(lambda: empty(engine))
        began = attempts.started[1:]  # of the first, nobody knew whose it was
        assert {ref // 100 for ref in began[:3]} == {ref // 100 for ref in began[3:6]} == {0, 1, 2}
        assert {*range(100, 110), *range(200, 205)} < set(attempts.started[:30])
        big = [ref % 20 for ref in attempts.started if ref < 100]
        assert len(set(big[:20])) == 20

    def test_a_tenant_whose_targets_hang_leaves_room_to_another(self, engine):
        def tenants_of(listeners):
            return {listener: listener.partition("/")[0] for listener in listeners}

        names = [f"bad/{number:03}" for number in range(40)]
        with self.hanging(engine, *names, jobs=2, concurrency=16, tenants_of=tenants_of) as attempts:
            wait_until(lambda: len(attempts.started) >= 3)
            self.deliver(engine, attempts, "good/1", range(1000, 1005))
            self.deliver(engine, attempts, "good/2", range(2000, 2005))
            assert len([ref for ref in attempts.started if ref < 1000]) <= 8

    def test_a_single_thread_serves_everybody_in_turn(self, engine):
        attempts = Attempts()
        add(
            engine,
            *(Job(100 * listener + ref, "lock", None, f"l-{listener}") for ref in range(2) for listener in (1, 2)),
        )
        with working(engine, attempts, concurrency=1):
            wait_until(lambda: empty(engine))
        assert attempts.started == [100, 200, 101, 201]  # by their lock

    def test_attempts_that_nobody_waits_for_any_more_count_until_they_end(self, engine):
        busy = Counter(a=3)
        attempts = Attempts()
        add(engine, Job(1, None, None, "a"), Job(2, None, None, "b"))
        with working(engine, attempts, concurrency=8, abandoned=lambda: +busy):
            wait_until(lambda: attempts.ended == [2])
            add(engine, Job(3, None, None, "b"))
            wait_until(lambda: attempts.ended == [2, 3])
            busy["a"] = 2
            add(engine, Job(4, None, None, "b"))  # something happens, so that it looks again
            wait_until(lambda: empty(engine))
        assert sorted(attempts.ended) == [1, 2, 3, 4]


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
                self.play_turns(open_engine(url))
            finally:
                connection.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def play_turns(self, engine):
        attempts = Attempts()
        with working(engine, attempts):
            for ref, listener in enumerate(["page@", "page_all@", "page@", "page_all@", "page_all@"]):
                add(engine, Job(ref, None, None, listener))
                wait_until(lambda ref=ref: ref in attempts.ended)
        engine.database.dispose()

    def test_a_job_added_while_the_one_before_it_ends_does_not_wait_for_it_for_ever(self, postgresql_url):
        engine = open_engine(postgresql_url)
        add(engine, Job(1, "lock", None))
        with (
            psycopg.connect(postgresql_url) as ending,
            psycopg.connect(postgresql_url, autocommit=True) as fetching,
        ):

            def fetch():
                row = fetching.execute("SELECT (job).id FROM extension_kit_fetch_job(NULL, %s, '', '{}')", [worker])
                return row.fetchone()[0]

            worker = fetching.execute("SELECT worker_id FROM procrastinate_register_worker_v1()").fetchone()[0]
            assert fetch() == 1
            ending.execute("SELECT procrastinate_finish_job_v1(1, 'succeeded', true)")
            add(engine, Job(2, "lock", None))
            assert fetch() is None
            ending.commit()
            assert fetch() == 2
        engine.database.dispose()

    def test_retries_do_not_make_its_tables_grow(self, postgresql_url):
        engine = open_engine(postgresql_url)
        add(engine, Job(1, None, None))
        attempts = Attempts({1: [soon] * 20 + [lambda: soon(3600)]})
        with working(engine, attempts):
            wait_until(lambda: len(attempts.ended) == 21)
        with engine.database.read() as connection:
            assert connection.exec_driver_sql("SELECT count(*) FROM procrastinate_events").scalar() == 1
        engine.database.dispose()


class TestOwnership:
    def test_who_has_lost_a_job_to_others_learns_it_before_the_attempt(self, engine):
        held = []

        def attempt(ref):
            with engine.database.transaction() as connection:
                held.append(engine.is_held(connection))
            if len(held) == 1:
                with engine.database.transaction() as connection:
                    connection.exec_driver_sql("UPDATE procrastinate_jobs SET worker_id = NULL")
                with engine.database.transaction() as connection:
                    held.append(engine.is_held(connection))

        add(engine, Job(1, None, None))
        with working(engine, attempt, stalled_after=0.3):
            wait_until(lambda: empty(engine))
        assert held == [True, False, True]

    def test_a_thread_that_does_no_job_holds_none(self, engine):
        with engine.database.transaction() as connection:
            assert not engine.is_held(connection)


class TestAdding:
    def test_jobs_are_there_when_the_transaction_is_committed_and_only_then(self, engine):
        attempts = Attempts()
        with working(engine, attempts):
            with suppress(ZeroDivisionError), engine.database.transaction() as connection:
                engine.defer(connection, [Job(1, None, None)])
                raise ZeroDivisionError
            with engine.database.transaction() as connection:
                engine.defer(connection, [])
                engine.defer(connection, [Job(2, None, None)])
                assert engine.stats().waiting == 0
            wait_until(lambda: attempts.ended)
        assert attempts.started == [2]

    def test_a_process_that_adds_is_heard_by_one_that_works(self, engine):
        attempts = Attempts()
        other = open_engine(engine.database.url.render_as_string(hide_password=False))
        with working(engine, attempts):
            for ref in range(5):
                add(other, Job(ref, None, None))
                wait_until(lambda ref=ref: ref in attempts.ended)
        other.database.dispose()

    def test_what_nobody_told_of_is_found_by_looking_now_and_then(self, postgresql_url, monkeypatch):
        engine = open_engine(postgresql_url)
        monkeypatch.setattr("extension_kit.engine.worker._POLL", 0.1)
        with engine.database.transaction() as connection:
            connection.exec_driver_sql("ALTER TABLE procrastinate_jobs DISABLE TRIGGER USER")
        attempts = Attempts()
        with working(engine, attempts):
            add(engine, Job(1, None, None))
            wait_until(lambda: attempts.ended)
        engine.database.dispose()

    def test_jobs_that_have_ended_leave_nothing_behind(self, engine):
        add(engine, *(Job(ref, "a", None) for ref in range(5)))
        with working(engine, Attempts({0: [soon]})):
            wait_until(lambda: empty(engine))
        tables = ["procrastinate_jobs"] if engine.database.is_sqlite else ["procrastinate_jobs", "procrastinate_events"]
        with engine.database.read() as connection:
            assert [connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar() for table in tables] == [
                0
            ] * len(tables)


class TestStats:
    def test_say_what_waits_and_since_when(self, engine):
        assert empty(engine)
        hold = {2: threading.Event()}
        before = datetime.now(UTC)
        add(engine, Job(1, "a", soon(3600)), Job(2, "b", None))
        add(engine, Job(3, "b", None))
        after = datetime.now(UTC)
        with working(engine, Attempts(hold=hold)):
            wait_until(lambda: engine.stats().doing)
            waiting, since, doing = engine.stats()
            hold[2].set()
        assert (waiting, doing) == (2, 1)
        assert before - timedelta(seconds=1) <= since <= after + timedelta(seconds=1)
        assert since.utcoffset() == timedelta(0)


class TestRebuilding:
    def test_what_waited_is_replaced_in_the_order_given(self, engine):
        add(engine, Job(1, "a", None), Job(2, "a", soon(3600)), Job(7, None, None))
        with engine.database.transaction() as connection:
            assert engine.rebuild(connection, iter([Job(5, "a", None), Job(1, "a", None), Job(6, "a", soon(0.2))])) == 3
        attempts = Attempts()
        with working(engine, attempts):
            wait_until(lambda: empty(engine))
        assert attempts.started == [5, 1, 6]

    def test_what_is_being_done_is_neither_done_beside_that_nor_again(self, engine):
        hold = {1: threading.Event()}
        attempts = Attempts(hold=hold)
        jobs = [Job(ref, "a", None) for ref in (1, 2)]
        add(engine, *jobs)
        with working(engine, attempts):
            wait_until(lambda: attempts.started)
            with engine.database.transaction() as connection:
                assert engine.rebuild(connection, jobs) == 1
            hold[1].set()
            wait_until(lambda: empty(engine))
        assert attempts.started == [1, 2]


class TestMistakes:
    def test_an_attempt_that_raises_is_logged_and_made_again_and_holds_up_no_other(self, engine, caplog, monkeypatch):
        pauses = []
        monkeypatch.setattr("extension_kit.engine.making._in_seconds", lambda pause: pauses.append(pause) or soon())
        attempts = Attempts({1: [KeyError("oops"), SystemExit(3), StopIteration()]})
        add(engine, Job(1, "a", None), Job(2, "a", None), Job(3, "b", None))
        with working(engine, attempts), caplog.at_level(logging.INFO):
            wait_until(lambda: empty(engine))
        assert [ref for ref in attempts.started if ref != 3] == [1, 1, 1, 1, 2]
        assert pauses == [1, 2, 4]
        errors = [record for record in caplog.records if record.levelno == logging.ERROR]
        assert len(errors) == 3
        assert "Unhandled exception in the attempt of delivery 1" in errors[0].getMessage()
        assert "oops" in caplog.text

    def test_procrastinate_says_nothing_of_ordinary_work(self, engine, caplog):
        with caplog.at_level(logging.INFO):
            add(engine, Job(1, "a", None), Job(2, "a", None))
            with working(engine, Attempts({1: [soon]})):
                wait_until(lambda: empty(engine))
        assert not caplog.records


class TestStopping:
    def test_what_runs_is_ended_and_nothing_more_begun(self, engine):
        hold = {1: threading.Event()}
        attempts = Attempts(hold=hold)
        add(engine, Job(1, "a", None), Job(2, "a", None))
        with working(engine, attempts) as worker:
            wait_until(lambda: attempts.started)
            worker.stop()
            hold[1].set()
        assert attempts.ended == [1]
        assert engine.stats()[::2] == (1, 0)

    def test_what_does_not_end_within_the_grace_period_is_handed_to_others_in_its_place(self, engine):
        hold = {1: threading.Event()}
        stuck = Attempts(hold=hold)
        add(engine, Job(1, "a", None), Job(2, "a", None))
        with working(engine, stuck, grace_period=0.1):
            wait_until(lambda: stuck.started)
        after = Attempts()
        with working(engine, after, name="two"):
            wait_until(lambda: empty(engine))
        hold[1].set()
        assert after.started == [1, 2]

    def test_a_worker_that_has_been_stopped_before_it_runs_does_nothing(self, engine):
        add(engine, Job(1, None, None))
        attempts = Attempts()
        worker = DeliveryWorker(engine, attempts, concurrency=1, stalled_after=30, grace_period=5, name="one")
        worker.stop()
        worker.run()
        worker.stop()
        assert not attempts.started


@pytest.fixture
def other_worker(engine, tmp_path):
    """Another worker, in a process which a test may kill and freeze."""
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [
                sys.executable, "-m", "tests.conformance.engine_worker",
                engine.database.url.render_as_string(hide_password=False), str(tmp_path), "1.5",
            ],
            stdout=log, stderr=log,
        )  # fmt: skip
    yield process
    process.kill()
    process.wait(TIMEOUT)


class TestDyingAndFreezing:
    STALLED_AFTER = 1.5

    def started(self, tmp_path, word="start"):
        ledger = tmp_path / "ledger"
        lines = ledger.read_text().splitlines() if ledger.exists() else []
        return [int(line.split()[1]) for line in lines if line.startswith(word)]

    def test_others_go_on_with_the_jobs_of_a_killed_worker_in_their_place(self, engine, tmp_path, other_worker):
        for number in range(3):
            add(engine, *(Job(100 * key + number, f"key-{key}", None) for key in range(3)))
        wait_until(lambda: sorted(self.started(tmp_path)) == [0, 100, 200])
        attempts = Attempts()
        with working(engine, attempts, stalled_after=self.STALLED_AFTER):
            other_worker.kill()
            wait_until(lambda: empty(engine))
        for key in range(3):
            mine = [ref for ref in attempts.started if ref // 100 == key]
            assert mine == [100 * key, 100 * key + 1, 100 * key + 2]

    def test_a_frozen_worker_that_wakes_up_does_not_touch_what_others_have_taken_over(
        self, engine, tmp_path, other_worker
    ):
        add(engine, *(Job(ref, "a", None) for ref in (1, 2)))
        wait_until(lambda: self.started(tmp_path) == [1])
        hold = {1: threading.Event()}
        attempts = Attempts(hold=hold)
        with working(engine, attempts, stalled_after=self.STALLED_AFTER):
            other_worker.send_signal(signal.SIGSTOP)
            wait_until(lambda: attempts.started == [1])
            other_worker.send_signal(signal.SIGCONT)
            (tmp_path / "go").touch()
            wait_until(lambda: "belongs to another worker" in (tmp_path / "log").read_text())
            assert self.started(tmp_path, "end") == [1]
            assert attempts.started == [1]
            assert engine.stats()[::2] == (1, 1)
            wait_until(lambda: "restarting" in (tmp_path / "log").read_text())
            hold[1].set()
            wait_until(lambda: empty(engine))
        add(engine, Job(3, "a", None))
        wait_until(lambda: empty(engine))
        assert self.started(tmp_path)[-1] == 3
        assert attempts.started + self.started(tmp_path) in ([1, 2, 1, 3], [1, 1, 2, 3])

    def test_a_worker_that_lives_is_not_taken_over_from_however_long_its_attempts_are(
        self, engine, tmp_path, other_worker
    ):
        add(engine, Job(1, "a", None))
        wait_until(lambda: self.started(tmp_path) == [1])
        attempts = Attempts()
        with working(engine, attempts, stalled_after=self.STALLED_AFTER):
            time.sleep(2 * self.STALLED_AFTER)  # the time in which nothing must happen
            assert not attempts.started
            (tmp_path / "go").touch()
            wait_until(lambda: empty(engine))
        assert not attempts.started


class TestOutages:
    def lines(self, caplog):
        return [record.getMessage() for record in caplog.records if record.levelno >= logging.INFO]

    @pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT])
    def test_a_postgresql_that_is_restarted_costs_two_lines_in_the_log(self, own_postgresql, caplog, how):
        engine = open_engine(own_postgresql.url)
        hold = {2: threading.Event()}
        attempts = Attempts({1: [soon]}, hold)
        with caplog.at_level(logging.INFO), working(engine, attempts):
            add(engine, *(Job(ref, "a", None) for ref in (1, 2, 3)))
            wait_until(lambda: 2 in attempts.started)
            own_postgresql.stop(how)
            wait_until(lambda: self.lines(caplog))
            hold[2].set()
            wait_until(lambda: 2 in attempts.ended)
            own_postgresql.start()
            wait_until(lambda: empty(engine))
            add(engine, Job(4, "a", None))
            wait_until(lambda: 4 in attempts.ended)
        engine.database.dispose()
        assert attempts.started == [1, 1, 2, 3, 4]
        first, second = self.lines(caplog)
        assert first.startswith("Database unavailable, deliveries paused: The database postgresql://")
        assert second.startswith("Deliveries resumed after ")

    def test_a_postgresql_that_is_gone_does_not_keep_a_worker_from_stopping(self, own_postgresql, caplog):
        engine = open_engine(own_postgresql.url)
        engine.database.dispose()
        hold = {1: threading.Event()}
        attempts = Attempts(hold=hold)
        add(engine, Job(1, "a", None))
        with caplog.at_level(logging.INFO), working(engine, attempts, grace_period=0.5):
            wait_until(lambda: attempts.started)
            own_postgresql.stop()
            hold[1].set()
            wait_until(lambda: attempts.ended)
        engine.database.dispose()
        assert len(self.lines(caplog)) == 2
        assert "stopped while the database was unavailable" in self.lines(caplog)[1]

    def test_a_worker_starts_before_its_database(self, own_postgresql, caplog):
        engine = open_engine(own_postgresql.url)
        add(engine, Job(1, "a", None))
        engine.database.dispose()
        own_postgresql.stop()
        attempts = Attempts()
        with caplog.at_level(logging.INFO), working(engine, attempts):
            wait_until(lambda: self.lines(caplog))
            own_postgresql.start()
            wait_until(lambda: attempts.ended)
        engine.database.dispose()

    def test_a_sqlite_file_that_others_keep_locked_costs_two_lines_in_the_log(self, tmp_path, caplog, monkeypatch):
        monkeypatch.setattr("extension_kit.store.sqlite.WAIT", 0.1)
        engine = open_engine(f"sqlite:///{tmp_path}/extension.db")
        attempts = Attempts()
        add(engine, Job(1, "a", None), Job(2, "a", None))
        locking = sqlite3.connect(tmp_path / "extension.db", isolation_level=None)
        locking.execute("BEGIN IMMEDIATE")
        with caplog.at_level(logging.INFO), working(engine, attempts):
            wait_until(lambda: self.lines(caplog))
            locking.execute("COMMIT")
            wait_until(lambda: empty(engine))
        locking.close()
        engine.database.dispose()
        assert attempts.started == [1, 2]
        first, second = self.lines(caplog)
        assert "is locked" in first
        assert second.startswith("Deliveries resumed after ")
