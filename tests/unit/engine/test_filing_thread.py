"""Accepted events are filed as soon as they come, by one worker at a time, until it is stopped."""

import sqlite3
import threading
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text

from extension_kit.agent.factory import EventFactory
from extension_kit.deliveries.filing import Filing
from extension_kit.deliveries.inbox import Accepted, Inbox
from extension_kit.deliveries.outbox import Outbox
from extension_kit.deliveries.subscription_matching import matching
from extension_kit.engine import filing_thread as module
from extension_kit.engine.filing_thread import FilingThread
from extension_kit.events.event import Event
from extension_kit.store.database import Database
from tests.support.databases import opened
from tests.support.open_files import open_files
from tests.support.recording import rows
from tests.support.used import connect
from tests.support.waiting import wait_until
from tests.support.workers import Attempts, working

LONG = 60.0  # seconds: a test that waits so long has failed
FACTORY = EventFactory()


class FailingFiling(Filing):
    """A filing that fails in the ways that it is given, one after the other."""

    failures = ()

    def file_some(self):
        if self.failures:
            raise self.failures.pop(0)
        return super().file_some()


@pytest.fixture
def no_looks(monkeypatch):
    """Nobody looks for events without having been told, except at the beginning."""
    monkeypatch.setattr(module, "_LOOK", LONG)
    monkeypatch.setattr(module, "_POLL", LONG)


@contextmanager
def filing_of(database):
    """The filing of a process of its own, with connections of its own."""
    own = Database(database.url.render_as_string(hide_password=False), flush=database.flush, timeout=database.timeout)
    try:
        yield FailingFiling(Inbox(own), Outbox(own, matching), own)
    finally:
        own.dispose()


@contextmanager
def thread_of(filing, tell=lambda: None, is_mine=lambda: True):
    thread = FilingThread(filing, tell, is_mine)
    thread.start()
    try:
        yield thread
    finally:
        thread.stop()
        assert not is_running()


def is_running():
    return any(each.name == "filing" for each in threading.enumerate())


def heard(inbox):
    """Wait until somebody listens to the bell, where there is one."""
    if inbox.bell is not None:
        file = inbox.database.path.stat()
        name = f"@extension-kit-bell-{file.st_dev}-{file.st_ino}\n"
        wait_until(lambda: name in Path("/proc/net/unix").read_text())


def accept(inbox, number=1):
    """Accept events in one commit, and return their ids."""
    made = [Event.from_body(FACTORY.event("killswitch.engaged")) for _ in range(number)]
    inbox.append([Accepted(event.body, ("oncall",)) for event in made])
    return [event.id for event in made]


def is_filed(database, number):
    return rows(database, "events", "deliveries") == [number, number]


def test_events_that_are_there_and_that_come_are_filed_and_told_of(database, inbox):
    told = threading.Event()
    accept(inbox)
    with filing_of(database) as filing, thread_of(filing, told.set) as thread:
        assert told.wait(LONG / 2)
        told.clear()
        accept(inbox, 3)
        thread.wake()
        assert told.wait(LONG / 2)
        wait_until(lambda: is_filed(database, 4))
    assert inbox.unfiled().events == 0


def test_nothing_is_told_without_an_event(database, inbox):
    told = []
    looks = threading.Semaphore(0)

    def is_mine():
        looks.release()
        return True

    with filing_of(database) as filing, thread_of(filing, lambda: told.append(None), is_mine) as thread:
        for _ in range(5):
            assert looks.acquire(timeout=LONG / 2)
            thread.wake()
            inbox.ring()
    assert told == []


@pytest.mark.usefixtures("no_looks")
def test_a_worker_is_woken_by_an_event_and_delivers_it(database, inbox):
    attempts = Attempts()
    with filing_of(database) as filing, working(database, attempts, filing=filing):
        heard(inbox)
        for number in range(1, 4):
            accept(inbox)
            wait_until(lambda number=number: len(attempts.ended) == number)
    assert inbox.unfiled().events == 0


@pytest.mark.usefixtures("no_looks")
@pytest.mark.parametrize("stands_by", [False, True])
def test_it_stops_at_once(database, inbox, stands_by):
    looked = threading.Event()

    def is_mine():
        looked.set()
        return not stands_by

    with filing_of(database) as filing, thread_of(filing, is_mine=is_mine) as thread:
        assert looked.wait(LONG / 2)
        if not stands_by:
            heard(inbox)
        thread.stop()
        assert not is_running()
        accept(inbox)
    assert inbox.unfiled().events == 1


def test_stopped_it_leaves_no_file_of_the_inbox_open(sqlite):
    inbox = Inbox(sqlite)
    inbox.prepare()
    accept(inbox)
    inbox.close()
    told = threading.Event()

    with filing_of(sqlite) as filing, thread_of(filing, told.set) as thread:
        assert told.wait(LONG / 2)
        assert wait_until(lambda: open_files(f"{sqlite.path}-inbox"))
        thread.stop()
        assert wait_until(lambda: not open_files(f"{sqlite.path}-inbox"))


def test_one_that_stands_by_files_nothing_until_it_is_its_turn(database, inbox):
    seen = []

    def is_mine():
        seen.append(inbox.unfiled().events)
        return len(seen) > 5

    accept(inbox)
    with filing_of(database) as filing, thread_of(filing, is_mine=is_mine):
        wait_until(lambda: is_filed(database, 1))
    assert seen[:6] == [1] * 6


def test_another_takes_over_when_the_one_that_files_is_killed(used_postgresql_url):
    with opened(used_postgresql_url, upgraded=False) as database, closing(connect(used_postgresql_url)) as first:
        inbox = Inbox(database)
        first.execute("BEGIN")
        assert first.execute("SELECT pg_try_advisory_xact_lock('inbox'::regclass::oid::bigint)").fetchone() == (True,)
        accept(inbox)
        with filing_of(database) as filing, thread_of(filing):
            wait_until(lambda: filing.is_elsewhere)
            assert inbox.unfiled().events == 1
            with database.transaction() as connection:
                connection.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": first.info.backend_pid})
            wait_until(lambda: is_filed(database, 1))
            assert not filing.is_elsewhere


def test_two_workers_file_each_event_once(used_postgresql_url):
    with opened(used_postgresql_url, upgraded=False) as database:
        inbox, attempts, ids = Inbox(database), Attempts(), []
        with filing_of(database) as one, filing_of(database) as two, ExitStack() as workers:
            for name, filing in (("one", one), ("two", two)):
                workers.enter_context(working(database, attempts, filing=filing, name=name))
            for _ in range(30):
                ids += accept(inbox, 5)
            wait_until(lambda: len(attempts.ended) == 150)
        assert sorted(attempts.ended) == sorted(ids)
        assert is_filed(database, 150)
        assert inbox.unfiled().events == 0


def test_an_outage_is_said_once_and_what_was_accepted_meanwhile_is_filed(sqlite_url, caplog):
    caplog.set_level("INFO", "extension_kit.engine")
    with opened(sqlite_url) as database:
        database.timeout = 0.2
        inbox = Inbox(database)
        inbox.prepare()
        other = sqlite3.connect(database.path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        accept(inbox)
        with filing_of(database) as filing, thread_of(filing):
            wait_until(lambda: "Database unavailable, filing of events paused" in caplog.text)
            accept(inbox)
            other.execute("ROLLBACK")
            other.close()
            wait_until(lambda: is_filed(database, 2))
            wait_until(lambda: "Filing of events resumed after" in caplog.text)
        inbox.close()
    assert caplog.text.count("filing of events paused") == 1


def test_a_fault_of_the_kit_does_not_end_it(database, inbox, monkeypatch, caplog):
    monkeypatch.setattr(module, "_PAUSE", 0.01)
    accept(inbox)
    with filing_of(database) as filing:
        filing.failures = [ZeroDivisionError(), ZeroDivisionError()]
        with thread_of(filing):
            wait_until(lambda: is_filed(database, 1))
    assert caplog.text.count("Filing of events failed, going on in") == 2


class TestPriority:
    @pytest.fixture(autouse=True)
    def long_turns(self, monkeypatch):
        monkeypatch.setattr(module, "_LONGEST_TURN", LONG)

    def test_it_has_some_while_it_files_many_events_and_not_afterwards(self, database, inbox):
        accept(inbox, 300)
        accept(inbox, 300)
        seen = []
        with filing_of(database) as filing:
            thread = FilingThread(filing, lambda: seen.append(thread.has_priority()), lambda: True)
            assert not thread.has_priority()
            thread.start()
            wait_until(lambda: is_filed(database, 600))
            wait_until(lambda: not thread.has_priority())
            thread.stop()
        assert seen == [True, True]

    def test_deliveries_have_their_turn_after_a_while(self, database, inbox, monkeypatch):
        monkeypatch.setattr(module, "_LONGEST_TURN", 0.0)
        accept(inbox, 300)
        seen = []
        with filing_of(database) as filing:
            thread = FilingThread(filing, lambda: seen.append(thread.has_priority()), lambda: True)
            thread.start()
            wait_until(lambda: is_filed(database, 300))
            thread.stop()
        assert seen == [False]

    def test_meanwhile_nothing_is_claimed(self, database, inbox, monkeypatch):
        attempts, asked = Attempts(), threading.Semaphore(0)
        waits = threading.Event()

        def has_priority(thread):
            asked.release()
            return not waits.is_set()

        monkeypatch.setattr(FilingThread, "has_priority", has_priority)
        with filing_of(database) as filing, working(database, attempts, filing=filing):
            accept(inbox, 3)
            wait_until(lambda: is_filed(database, 3))
            for _ in range(50):
                assert asked.acquire(timeout=LONG / 2)
            assert attempts.ended == []
            waits.set()
            wait_until(lambda: len(attempts.ended) == 3)
