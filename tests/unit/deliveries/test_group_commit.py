"""Events that come in together are committed together, and each is told of its own commit, whatever happens."""

import asyncio
import threading
from contextlib import contextmanager
from functools import partial

import pytest

from extension_kit.agent.factory import EventFactory
from extension_kit.deliveries.event_recorder import EventRecorder
from extension_kit.deliveries.inbox import Inbox
from extension_kit.deliveries.step_memory import find_step
from extension_kit.deliveries.tables import events
from extension_kit.errors import StoreSilent, StoreUnavailable
from extension_kit.events.event import Event
from extension_kit.events.registry import Listener
from tests.support.filing import filed
from tests.support.recording import rows, stored
from tests.support.waiting import wait_until

FACTORY = EventFactory()


def page(event):
    """A function that wants events."""


LISTENER = Listener.of(page, ("*",), extension="oncall", path=None, restrict_to="leader", immediate=False)


def made(name="experiment.execution.created", **changes):
    return Event.from_body(FACTORY.event(name, **changes))


class HeldInbox(Inbox):
    """An inbox that tells how it is asked to append, and can be held up and made to fail."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.sizes = []
        self.failures = []
        self.writable = None
        self._gate = threading.Event()
        self._gate.set()

    @contextmanager
    def held(self):
        self._gate.clear()
        try:
            yield
        finally:
            self._gate.set()

    def append(self, items):
        self.sizes.append(len(items))
        assert self._gate.wait(30)
        if self.failures and (failure := self.failures.pop(0)):
            raise failure
        super().append(items)

    def check_writable(self):
        if self.writable is None:
            super().check_writable()
        elif not self.writable():
            raise StoreUnavailable("The database is gone")


class Told(list):
    """What was told, in order."""

    def wait(self, number):
        wait_until(lambda: len(self) >= number)
        return self


@pytest.fixture
def inbox(database):
    inbox = HeldInbox(database)
    inbox.prepare()
    yield inbox
    inbox.close()


@pytest.fixture
def open_group(inbox):
    opened = []

    def open_group(limit=100, **options):
        opened.append(EventRecorder(inbox, limit, **options))
        return opened[-1]

    yield open_group
    for commit in opened:
        commit.close(10)


def add(commit, told, number=1):
    return [commit.record(made(), [LISTENER], told.append) for _ in range(number)]


def test_an_event_is_there_when_it_is_told(database, open_group, inbox):
    seen = Told()
    event = made("experiment.execution.failed")
    assert open_group().record(event, [LISTENER], lambda ok: seen.append((ok, inbox.unfiled().events)))
    assert seen.wait(1) == [(True, 1)]
    assert filed(database) == 1
    with database.read() as connection:
        row = connection.execute(events.select()).one()
    assert (row.source, row.event_id, row.name) == ("steadybit", event.id, "experiment.execution.failed")
    assert (row.subject, row.time, row.body) == (event.subject, event.time, event.body)
    assert stored(database) == [(event.id, LISTENER.key, event.series, 1)]


def test_what_comes_in_during_a_commit_is_committed_together(open_group, inbox):
    commit, told = open_group(), Told()
    with inbox.held():
        add(commit, told)
        wait_until(lambda: inbox.sizes == [1])
        assert all(add(commit, told, 7))
        assert told == []
    assert told.wait(8) == [True] * 8
    assert inbox.sizes == [1, 7]


def test_a_group_has_a_size(open_group, inbox):
    commit, told = open_group(group=3), Told()
    with inbox.held():
        add(commit, told)
        wait_until(lambda: inbox.sizes == [1])
        add(commit, told, 7)
    told.wait(8)
    assert inbox.sizes == [1, 3, 3, 1]


def test_too_many_may_not_wait(open_group, inbox):
    commit, told = open_group(limit=2), Told()
    with inbox.held():
        add(commit, told)
        wait_until(lambda: inbox.sizes == [1])
        assert add(commit, told, 4) == [True, True, False, False]
    assert told.wait(3) == [True] * 3
    assert add(commit, told) == [True]
    assert told.wait(4) == [True] * 4


def held_group(commit, inbox, told):
    """Have three events arrive during a commit, so that they are one group."""
    with inbox.held():
        add(commit, Told())
        wait_until(lambda: inbox.sizes == [1])
        add(commit, told, 3)


def test_a_group_with_a_bad_event_is_committed_one_by_one(database, open_group, inbox):
    commit, told = open_group(), Told()
    inbox.failures = [None, ZeroDivisionError(), None, ZeroDivisionError()]
    held_group(commit, inbox, told)
    assert told.wait(3) == [True, False, True]
    assert inbox.sizes == [1, 3, 1, 1, 1]
    assert filed(database) == 3
    assert rows(database, "events") == [3]
    assert commit.works


@pytest.mark.parametrize("error", [StoreUnavailable("The database is full"), StoreSilent("The database is locked")])
def test_a_database_that_fails_meanwhile_is_not_asked_for_each(open_group, inbox, error):
    commit, told = open_group(), Told()
    inbox.failures = [None, ZeroDivisionError(), None, error]
    held_group(commit, inbox, told)
    assert told.wait(3) == [True, False, False]
    assert inbox.sizes == [1, 3, 1, 1]


@pytest.mark.parametrize("error", [StoreUnavailable("The database is gone"), ZeroDivisionError()])
def test_a_commit_that_fails_is_told_to_all_of_it_and_to_nobody_else(database, open_group, inbox, caplog, error):
    commit, told, later = open_group(), Told(), Told()
    inbox.failures = [error]
    with inbox.held():
        add(commit, told)
        wait_until(lambda: inbox.sizes == [1])
        add(commit, later, 3)
    assert told.wait(1) == [False]
    assert later.wait(3) == [True] * 3
    assert filed(database) == 3
    assert rows(database, "events") == [3]
    (line,) = [record for record in caplog.records if record.name == "extension_kit.deliveries"]
    assert line.getMessage().startswith("1 events not stored")
    assert bool(line.exc_info) == isinstance(error, ZeroDivisionError)


def test_who_cannot_be_told_keeps_nobody_else_from_it(open_group, inbox, caplog):
    commit, told = open_group(), Told()

    def tell(ok):
        raise RuntimeError("Event loop is closed")

    with inbox.held():
        add(commit, told)
        wait_until(lambda: inbox.sizes == [1])
        commit.record(made(), [LISTENER], tell)
        add(commit, told)
    assert told.wait(2) == [True, True]
    assert add(commit, told) == [True]
    assert told.wait(3) == [True] * 3
    assert "Event stored, but its request had gone" in caplog.text


def test_closing_commits_what_waits_and_takes_nothing_more(database, open_group, inbox):
    commit, told = open_group(group=2), Told()
    with inbox.held():
        add(commit, told)
        wait_until(lambda: inbox.sizes == [1])
        add(commit, told, 4)
        closing = threading.Thread(target=commit.close, args=(30,))
        closing.start()
        wait_until(lambda: add(commit, told) == [False])
    closing.join(30)
    waited = inbox.sizes[1:]
    assert told == [True] * sum(inbox.sizes)
    assert waited[0] == 2
    assert filed(database) == len(told)
    assert rows(database, "events") == [len(told)]
    assert add(commit, told) == [False]


def test_closing_what_was_never_used_or_is_closed_takes_no_time(open_group):
    commit, told = open_group(), Told()
    commit.close(0)
    assert add(commit, told) == [False]
    commit.close(0)


def test_closing_does_not_wait_longer_than_it_may(open_group, inbox):
    commit, told = open_group(), Told()
    with inbox.held():
        add(commit, told)
        wait_until(lambda: inbox.sizes == [1])
        commit.close(0.01)
        assert told == []
    assert told.wait(1) == [True]


class TestForALoop:
    """With an event loop, what it brings together is committed together, and told in its thread."""

    def test_what_the_loop_brings_is_one_group(self, open_group, inbox):
        commit, told = open_group(), Told()

        async def bring():
            commit.attach_loop(asyncio.get_running_loop())
            commit.start()
            for size in (5, 1, 3):
                done = asyncio.Event()

                def tell(ok, done=done):
                    told.append((ok, threading.get_ident()))
                    done.set()

                for _ in range(size):
                    asyncio.get_running_loop().call_soon(commit.record, made(), [LISTENER], tell)
                await asyncio.wait_for(done.wait(), 30)

        asyncio.run(bring())
        assert told == [(True, threading.get_ident())] * 9
        assert inbox.sizes == [5, 1, 3]

    def test_what_comes_during_a_commit_follows_it(self, open_group, inbox):
        commit, told = open_group(group=3), Told()

        async def bring():
            commit.attach_loop(asyncio.get_running_loop())
            with inbox.held():
                add(commit, told)
                while not inbox.sizes:
                    await asyncio.sleep(0)
                add(commit, told, 7)
            while len(told) < 8:
                await asyncio.sleep(0)

        asyncio.run(asyncio.wait_for(bring(), 30))
        assert inbox.sizes == [1, 3, 3, 1]

    def test_another_thread_may_bring_some(self, open_group):
        commit, told = open_group(), Told()

        async def bring():
            commit.attach_loop(asyncio.get_running_loop())
            assert await asyncio.to_thread(add, commit, told, 2) == [True, True]
            while len(told) < 2:
                await asyncio.sleep(0)

        asyncio.run(asyncio.wait_for(bring(), 30))

    def test_one_that_has_been_closed_keeps_nothing_from_being_committed(self, database, open_group):
        commit, told = open_group(), Told()

        async def bring():
            commit.attach_loop(asyncio.get_running_loop())
            add(commit, told, 2)

        asyncio.run(bring())
        add(commit, told)
        commit.close(30)
        assert filed(database) == 3
        assert rows(database, "events") == [3]
        assert told.wait(1)[-1] is True


class TestNotice:
    """It is noticed when the database can no longer be written, and when it can again, by commits or without any."""

    @pytest.fixture
    def noticed(self, request, open_group):
        self.commit, noticed = open_group(check_interval=getattr(request, "param", 2.0)), Told()
        self.commit.on_writable_change = noticed.append
        return noticed

    def test_by_commits(self, inbox, noticed):
        inbox.failures = [StoreUnavailable("gone"), StoreUnavailable("gone")]
        for number, expected in enumerate([False, False, True, True], 1):
            told = Told()
            add(self.commit, told)
            assert told.wait(1) == [expected], number
        assert noticed.wait(2) == [False, True]

    @pytest.mark.parametrize("noticed", [0.01], indirect=True)
    def test_without_an_event_and_said_once(self, inbox, noticed, caplog):
        states = iter([True, False, False, True])
        inbox.writable = lambda: next(states, True)
        self.commit.start()
        self.commit.start()
        assert noticed.wait(2) == [False, True]
        assert caplog.text.count("Events cannot be stored: The database is gone") == 1
        add(self.commit, told := Told())
        assert told.wait(1) == [True]

    @pytest.mark.parametrize("noticed", [60], indirect=True)
    def test_each_reason_is_said_once(self, inbox, noticed, caplog):
        inbox.failures = [StoreUnavailable(why) for why in ("gone", "gone", "full", "full")]
        for _ in range(4):
            add(self.commit, told := Told())
            assert told.wait(1) == [False]
        assert caplog.messages == ["1 events not stored: gone", "1 events not stored: full"]

    def test_a_database_that_others_have_upgraded_takes_no_events_although_it_could(self, inbox, noticed):
        inbox.failures = [StoreUnavailable("gone")]
        inbox.writable = lambda: False
        for number in (1, 2):
            add(self.commit, told := Told())
            assert told.wait(1) == [False], number
        assert inbox.sizes == [1]
        inbox.writable = None
        add(self.commit, told := Told())
        assert told.wait(1) == [True]

    @pytest.mark.parametrize("noticed", [0.01], indirect=True)
    def test_in_a_database_that_is_damaged(self, inbox, noticed, caplog):
        def damaged():
            raise ZeroDivisionError

        inbox.writable = damaged
        add(self.commit, Told())
        wait_until(lambda: caplog.text.count("Commit thread failed, continuing") > 1)
        inbox.writable = None
        assert add(self.commit, told := Told()) == [True]
        assert told.wait(1) == [True]


class TestSilence:
    """A database that hangs is as bad as one that fails: everybody is told in time, and the next ones at once."""

    @pytest.fixture
    def silent(self, open_group):
        self.commit, noticed = open_group(timeout=0.5, check_interval=0.05), Told()
        self.commit.on_writable_change = noticed.append
        return noticed

    def test_of_a_commit_that_does_not_return(self, database, inbox, silent, caplog):
        caplog.set_level("INFO", "extension_kit.deliveries")
        told = Told()
        with inbox.held():
            add(self.commit, told)
            wait_until(lambda: inbox.sizes == [1])
            add(self.commit, told, 2)
            assert told.wait(3) == [False] * 3
            assert silent.wait(1) == [False]
            for number in range(4, 8):
                assert add(self.commit, told) == [True]
                assert len(told) == number  # told at once
            assert inbox.sizes == [1]
        assert silent.wait(2) == [False, True]
        add(self.commit, again := Told())
        assert again.wait(1) == [True]
        assert filed(database) == 2  # the first one, too: it is known when it comes again
        assert rows(database, "events") == [2]
        lines = [record.getMessage() for record in caplog.records if record.name == "extension_kit.deliveries"]
        assert lines == [
            f"3 events not stored: The database {inbox.database.name} has not answered for 0.5 s",
            "Events are stored again",
        ]

    def test_of_a_look_that_does_not_return(self, inbox, silent):
        gate = threading.Event()
        inbox.writable = lambda: gate.wait(30)
        self.commit.start()
        assert silent.wait(1) == [False]
        add(self.commit, told := Told())
        assert told == [False]
        gate.set()
        assert silent.wait(2) == [False, True]

    def test_that_the_database_itself_says(self, inbox, silent, caplog):
        inbox.failures = [StoreSilent("The database is locked")]
        inbox.writable = lambda: False
        told = Told()
        with inbox.held():
            add(self.commit, told)
            wait_until(lambda: inbox.sizes == [1])
            add(self.commit, told, 3)
        assert told.wait(4) == [False] * 4
        assert silent.wait(1) == [False]
        assert inbox.sizes == [1]

    def test_in_the_thread_of_the_loop(self, inbox, silent):
        told = Told()

        async def bring():
            self.commit.attach_loop(asyncio.get_running_loop())
            with inbox.held():
                self.commit.record(made(), [LISTENER], lambda ok: told.append((ok, threading.get_ident())))
                while not told:
                    await asyncio.sleep(0.01)

        asyncio.run(asyncio.wait_for(bring(), 30))
        assert told == [(False, threading.get_ident())]


def test_the_step_that_an_event_starts_is_found_by_the_events_of_its_targets(database, open_group):
    """However long the ids are."""
    commit, told = open_group(), Told()
    run = {"tenant": {"key": "t" * 300}, "execution_id": 7}
    step = FACTORY.event("experiment.execution.step-started", **run)
    step["experimentStepExecution"]["id"] = "s" * 300
    for event in (Event.from_body(step), made("experiment.execution.step-completed", **run)):
        commit.record(event, [LISTENER], told.append)
    told.wait(2)
    assert filed(database) == 2
    assert rows(database, "steps") == [1]
    target = FACTORY.event("experiment.execution.target-started", **run, step_execution_id="s" * 300)
    found = Event.from_body(target, find_step=partial(find_step, database)).step
    assert found.id == "s" * 300
    other = FACTORY.event("experiment.execution.target-started", **run, step_execution_id="s" * 301)
    assert Event.from_body(other, find_step=partial(find_step, database)).step is None
