"""Actions are made in the background, one after the other, and their rows tell how far they have come."""

import logging
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta

import click
import pytest
from sqlalchemy import func, select

from extension_kit.cli import delivery_actions
from extension_kit.deliveries import action_rows
from extension_kit.deliveries.action_rows import DISCARD, REPLAY, RETRY_NOW
from extension_kit.deliveries.outbox import Outbox
from extension_kit.deliveries.queries import Filter
from extension_kit.deliveries.tables import CLAIMED, DEAD, DELIVERED, DISCARDED, LATER, WAITING, deliveries
from extension_kit.deliveries.waiting import Changed
from extension_kit.errors import StoreUnavailable
from extension_kit.event_log.actions import (
    MOST_ACTIONS,
    ActionEnded,
    Actions,
    CountChanged,
    NothingChosen,
    TooManyActions,
)
from extension_kit.event_log.choice import BadChoice, choose
from tests.support.databases import opened
from tests.support.recording import all_of, change, entry
from tests.support.waiting import wait_until

SOON = timedelta(seconds=1)


@pytest.fixture
def made(database):
    """The actions of this process."""
    made = Actions(database)
    yield made
    made.stop(10)


def record(database, number, **values):
    """Record deliveries of the listener ``oncall`` that have come to something, and return their numbers."""
    Outbox(database).record([entry(str(n)) for n in range(number)])
    change(database, **values)
    return [row.ref for row in all_of(database)]


def record_dead(database, number):
    return record(database, number, status=DEAD, stage=None, error="no answer", ended_at=datetime.now(UTC))


def row_of(database, ref):
    with database.read() as connection:
        return action_rows.action_of(connection, ref)


def ended(database, ref):
    return wait_until(lambda: (row := row_of(database, ref)).ended_at and row)


def numbers(database):
    with database.read() as connection:
        query = select(deliveries.c.status, func.count()).group_by(deliveries.c.status)
        return dict(map(tuple, connection.execute(query)))


def test_thousands_of_dead_letters_are_replayed_with_progress(database, made):
    record_dead(database, 5000)
    seen = set()
    ref = made.begin(choose(REPLAY, Filter()), 5000, "ada")

    def is_over():
        row = row_of(database, ref)
        seen.add(row.changed)
        return row.ended_at

    wait_until(is_over)
    row = row_of(database, ref)
    assert (row.kind, row.made_by, row.expected, row.changed, row.skipped) == ("replay", "ada", 5000, 5000, 0)
    assert row.error is None
    assert action_rows.state(row, datetime.now(UTC)) == "done"
    assert seen <= set(range(0, 5001, 500))
    assert len(seen) > 2, "its progress was to be seen"
    assert numbers(database) == {WAITING: 5000}


def test_actions_are_made_one_after_the_other(database, made):
    record_dead(database, 2000)
    first = made.begin(choose(REPLAY, Filter()), 2000, "ada")
    second = made.begin(choose(DISCARD, Filter()), None, "bob")
    assert ended(database, first).started_at <= ended(database, second).started_at
    rows = [row_of(database, ref) for ref in (first, second)]
    assert rows[0].ended_at <= rows[1].ended_at
    assert [row.changed for row in rows] == [2000, 0]
    # Those that the second one expected had been replayed by the first.
    assert rows[1].skipped == rows[1].expected > 0
    assert numbers(database) == {WAITING: 2000}


def test_deliveries_are_discarded_by_number_whether_dead_or_waiting(database, made):
    refs = record_dead(database, 4)
    change(database, refs[:1], status=WAITING, stage=LATER, ended_at=None)
    change(database, refs[1:2], status=DELIVERED)
    choice = choose(DISCARD, Filter(refs=tuple(refs[:3])))
    with database.read() as connection:
        assert choice.count(connection) == 2
    row = ended(database, made.begin(choice, None, "ada"))
    assert (row.filter, row.expected, row.changed) == (f"ref={refs[0]}%2C{refs[1]}%2C{refs[2]}", 2, 2)
    assert [each.status for each in all_of(database)] == [DISCARDED, DELIVERED, DISCARDED, DEAD]


def test_those_that_are_being_attempted_are_skipped(database, made):
    refs = record(database, 3, stage=LATER, due_at=datetime.now(UTC) + timedelta(hours=1))
    change(database, refs[:1], stage=CLAIMED, claimed_at=datetime.now(UTC))
    row = ended(database, made.begin(choose(RETRY_NOW, Filter(listener="onc")), 3, "ada"))
    assert (row.expected, row.changed, row.skipped) == (3, 2, 1)
    assert [each.stage for each in all_of(database)] == [CLAIMED, "ready", "ready"]


def test_what_comes_after_the_choice_is_left_alone(database, made):
    record_dead(database, 3)
    choice = choose(DISCARD, Filter())
    change(database, [max(row.ref for row in all_of(database))], created_at=datetime.now(UTC) + SOON)
    assert ended(database, made.begin(choice, 2, "ada")).changed == 2
    assert numbers(database) == {DISCARDED: 2, DEAD: 1}


@pytest.mark.parametrize("expected", [2, 4])
def test_another_number_than_expected_begins_nothing(database, made, expected):
    record_dead(database, 3)
    with pytest.raises(CountChanged) as changed:
        made.begin(choose(REPLAY, Filter()), expected, "ada")
    assert changed.value.number == 3
    with database.read() as connection:
        assert action_rows.recent(connection, None, 1) == []
    assert numbers(database) == {DEAD: 3}


def test_fewer_waiting_deliveries_are_no_change(database, made):
    record(database, 3, stage=LATER)
    choice = choose(RETRY_NOW, Filter())
    with pytest.raises(CountChanged):
        made.begin(choice, 2, "ada")
    assert ended(database, made.begin(choice, 5, "ada")).changed == 3
    change(database, status=DELIVERED, stage=None)
    with pytest.raises(CountChanged):
        made.begin(choice, 5, "ada")


@pytest.mark.parametrize(
    ("kind", "nouns"),
    [(REPLAY, "dead letters"), (RETRY_NOW, "waiting deliveries"), (DISCARD, "deliveries")],
)
def test_there_have_to_be_some(database, made, kind, nouns):
    refs = record(database, 2, status=DELIVERED, stage=None)
    with pytest.raises(NothingChosen, match=f"There are no {nouns} among these"):
        made.begin(choose(kind, Filter(refs=tuple(refs))), None, "ada")


@pytest.mark.parametrize(
    ("kind", "status", "sentence"),
    [
        (REPLAY, WAITING, "Only dead letters can be replayed, and the filter is for .* status waiting"),
        (RETRY_NOW, DEAD, "Only waiting deliveries can be tried now"),
        (DISCARD, DELIVERED, "Only dead letters and waiting deliveries can be discarded"),
    ],
)
def test_a_filter_for_others_is_refused(kind, status, sentence):
    with pytest.raises(BadChoice, match=sentence):
        choose(kind, Filter(status=status))


@pytest.mark.parametrize(
    ("kind", "wanted", "text"),
    [
        (REPLAY, Filter(), "1,234 dead letters"),
        (DISCARD, Filter(), "1,234 dead letters"),
        (DISCARD, Filter(status=WAITING), "1,234 waiting deliveries"),
        (DISCARD, Filter(refs=(1, 2)), "1,234 deliveries"),
        (RETRY_NOW, Filter(), "1,234 waiting deliveries"),
    ],
)
def test_a_choice_in_words(kind, wanted, text):
    assert choose(kind, wanted).noun(1234) == text


class HeldBack:
    """A database whose transactions wait, from the moment on at which it is told so."""

    def __init__(self, database):
        self._database = database
        self._goes_on = threading.Event()
        self._goes_on.set()
        self.waits = threading.Event()

    def hold(self):
        self._goes_on.clear()

    def release(self):
        self._goes_on.set()

    def transaction(self):
        if threading.current_thread().name == "event-log-actions" and not self._goes_on.is_set():
            self.waits.set()
            assert self._goes_on.wait(30)
        return self._database.transaction()

    def __getattr__(self, name):
        return getattr(self._database, name)


@pytest.fixture
def held(database):
    held = HeldBack(database)
    held.hold()
    yield held
    held.release()


def test_there_is_room_for_some(database, held):
    refs = record_dead(database, 3)
    made = Actions(held)
    choice = choose(REPLAY, Filter(refs=(refs[0],)))
    begun = [made.begin(choice, None, "ada") for _ in range(MOST_ACTIONS)]
    with pytest.raises(TooManyActions, match="try again"):
        made.begin(choice, None, "ada")
    held.release()
    rows = [ended(database, ref) for ref in begun]
    assert [row.changed for row in rows] == [1] + [0] * (MOST_ACTIONS - 1)
    assert ended(database, made.begin(choose(REPLAY, Filter(refs=(refs[1],))), None, "bob")).changed == 1
    made.stop(10)


def test_when_it_is_stopped_the_row_says_so(database, held):
    record_dead(database, 1500)
    made = Actions(held)
    refs = [made.begin(choose(REPLAY, Filter()), 1500, name) for name in ("ada", "bob")]
    assert held.waits.wait(30)  # before its first batch
    stopping = threading.Thread(target=made.stop, args=(30,))
    stopping.start()
    wait_until(made._stopped.is_set)
    held.release()
    stopping.join(30)
    rows = [row_of(database, ref) for ref in refs]
    assert [row.changed for row in rows] == [500, 0]
    assert all("was stopped" in row.error for row in rows)
    assert numbers(database) == {WAITING: 500, DEAD: 1000}
    with pytest.raises(TooManyActions):
        made.begin(choose(REPLAY, Filter()), 1000, "ada")


class AwayAfter:
    """A database that goes away after some transactions of the background thread, for one transaction."""

    def __init__(self, database, transactions, error):
        self._database = database
        self._left = transactions
        self._error = error

    def transaction(self):
        if threading.current_thread().name == "event-log-actions":
            self._left -= 1
            if self._left == 0:
                raise self._error
        return self._database.transaction()

    def __getattr__(self, name):
        return getattr(self._database, name)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (StoreUnavailable("The database is away"), "The database is away"),
        (ZeroDivisionError("s3cret"), "It failed unexpectedly"),
    ],
)
def test_a_failure_is_told_and_the_next_action_is_made(database, error, reason):
    record_dead(database, 1500)
    made = Actions(AwayAfter(database, 4, error))
    try:
        first = made.begin(choose(REPLAY, Filter()), 1500, "ada")
        row = ended(database, first)
        assert (row.changed, action_rows.state(row, datetime.now(UTC))) == (500, "failed")
        assert row.error.startswith(reason)
        assert "s3cret" not in row.error
        left = numbers(database)[DEAD]
        assert ended(database, made.begin(choose(REPLAY, Filter()), left, "ada")).changed == left == 1000
    finally:
        made.stop(10)


def test_its_end_is_written_once_the_database_is_back(database):
    record_dead(database, 1)
    # Its beginning, one batch, its report, the end.
    made = Actions(AwayAfter(database, 4, StoreUnavailable("The database is away")))
    try:
        assert ended(database, made.begin(choose(REPLAY, Filter()), 1, "ada")).changed == 1
    finally:
        made.stop(10)


def test_signs_of_life_are_given_while_one_statement_takes_long(database, held, monkeypatch):
    monkeypatch.setattr("extension_kit.event_log.actions._SIGN_EVERY", 0.05)
    record_dead(database, 1)
    made = Actions(held)
    ref = made.begin(choose(REPLAY, Filter()), 1, "ada")
    began = row_of(database, ref).seen_at
    wait_until(lambda: row_of(database, ref).seen_at > began)
    held.release()
    made.stop(10)


def test_a_row_that_cannot_be_written_leaves_its_place_to_others(database, made):
    record_dead(database, 1)
    wanted = choose(REPLAY, Filter())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database, "transaction", lambda: (_ for _ in ()).throw(StoreUnavailable("away")))
        for _ in range(MOST_ACTIONS + 1):
            with pytest.raises(StoreUnavailable):
                made.begin(wanted, 1, "ada")
    assert ended(database, made.begin(wanted, 1, "ada")).changed == 1


class TestCancelled:
    def test_it_ends_after_its_batch_with_the_numbers_so_far(self, database, held, caplog):
        caplog.set_level(logging.INFO, "extension_kit.event_log")
        record_dead(database, 1500)
        held.release()
        made = Actions(held)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("extension_kit.event_log.actions._LONGEST_PAUSE", 0)
            patch.setattr(action_rows, "report", holding(held, action_rows.report, changed=500))
            ref = made.begin(choose(REPLAY, Filter()), 1500, "ada")
            assert held.waits.wait(30)
            assert row_of(database, ref).changed == 500
            Actions(database).cancel(ref, "bob")  # of another process
            row = row_of(database, ref)
            assert action_rows.state(row, datetime.now(UTC)) == "running"
            assert row.error == "Cancelled by bob: deliveries that it had not reached are unchanged."
            held.release()
            row = ended(database, ref)
        assert (row.made_by, row.expected, row.skipped) == ("ada", 1500, 0)
        assert row.changed == numbers(database)[WAITING]
        assert 500 <= row.changed <= 1000
        assert action_rows.state(row, datetime.now(UTC)) == "cancelled"
        assert row.error.startswith("Cancelled by bob: ")
        assert numbers(database) == {WAITING: row.changed, DEAD: 1500 - row.changed}
        assert ("Action cancelled", {"action": ref, "by": "bob"}) in [
            (each.getMessage(), getattr(each, "fields", None)) for each in caplog.records
        ]
        made.stop(10)

    def test_before_its_turn_it_changes_nothing(self, database, held):
        record_dead(database, 3)
        made = Actions(held)
        refs = [made.begin(choose(REPLAY, Filter()), 3, "ada") for _ in range(2)]
        made.cancel(refs[1], "ada")
        held.release()
        assert [ended(database, ref).changed for ref in refs] == [3, 0]
        states = [action_rows.state(row_of(database, ref), datetime.now(UTC)) for ref in refs]
        assert states == ["done", "cancelled"]
        made.stop(10)

    def test_the_first_name_counts(self, database, held):
        record_dead(database, 1)
        made = Actions(held)
        ref = made.begin(choose(REPLAY, Filter()), 1, "ada")
        made.cancel(ref, "bob")
        made.cancel(ref, "eve")
        held.release()
        assert ended(database, ref).error.startswith("Cancelled by bob:")
        made.stop(10)

    def test_an_ended_one_stays_as_it_is(self, database, made):
        record_dead(database, 1)
        ref = made.begin(choose(REPLAY, Filter()), 1, "ada")
        row = ended(database, ref)
        for each in (ref, ref + 1):
            with pytest.raises(ActionEnded):
                made.cancel(each, "bob")
        assert row_of(database, ref) == row

    def test_an_interrupted_one_ends_at_once(self, database, made):
        long_ago = datetime.now(UTC) - 2 * action_rows.ALIVE
        with database.transaction() as connection:
            ref = action_rows.begin(connection, REPLAY, "ada", "", 5, long_ago)
        assert action_rows.state(row_of(database, ref), datetime.now(UTC)) == "interrupted"
        made.cancel(ref, "bob")
        row = row_of(database, ref)
        assert action_rows.state(row, datetime.now(UTC)) == "cancelled"
        assert row.ended_at > long_ago

    def test_a_command_ends_too(self, database):
        def changes():
            yield Changed(500, 0)
            with database.transaction() as connection:
                (row,) = action_rows.recent(connection, None, 1)
                assert action_rows.cancel(connection, row.ref, "bob", datetime.now(UTC))
            yield Changed(500, 0)
            pytest.fail("it went on")

        record_dead(database, 1)
        with pytest.raises(click.ClickException, match=r"^Cancelled by bob: .* Changed before: 1000\.$"):
            delivery_actions._all(database, REPLAY, Filter(status=DEAD), changes())
        with database.read() as connection:
            (row,) = action_rows.recent(connection, None, 1)
        assert (row.made_by, row.changed) == ("command line", 1000)
        assert action_rows.state(row, datetime.now(UTC)) == "cancelled"


def holding(held, report, changed):
    """A report after which, at a number of changes, the next transaction of the actions waits."""

    def hold(connection, ref, number, *rest):
        report(connection, ref, number, *rest)
        if number == changed:
            held.hold()

    return hold


def test_each_leaves_lines_in_the_log(database, made, caplog):
    caplog.set_level(logging.INFO, "extension_kit.event_log")
    record_dead(database, 2)
    ref = made.begin(choose(REPLAY, Filter(listener="onc", before=datetime(2100, 1, 1, tzinfo=UTC))), 2, "ada")
    ended(database, ref)
    begun, done = wait_until(lambda: len(caplog.records) == 2 and caplog.records)
    fields = {"action": ref, "kind": "replay", "by": "ada"}
    assert begun.getMessage() == "Action begun"
    assert begun.fields == {**fields, "filter": "status=dead&listener=onc&to=2100-01-01T00%3A00%3A00Z", "expected": 2}
    assert done.getMessage() == "Action done"
    assert done.fields == {**fields, "changed": 2, "skipped": 0}


KILLED = """
import sys, threading
from extension_kit.deliveries.queries import Filter
from extension_kit.event_log.actions import Actions
from extension_kit.event_log.choice import choose
from extension_kit.store.database import Database

actions = Actions(Database(sys.argv[1]))
print(actions.begin(choose("replay", Filter()), None, "ada"), flush=True)
threading.Event().wait(60)
"""


def test_a_process_that_is_killed_leaves_an_interrupted_action(url):
    with opened(url) as database:
        record_dead(database, 20_000)
        process = subprocess.Popen([sys.executable, "-c", KILLED, url], stdout=subprocess.PIPE, text=True)
        try:
            ref = int(process.stdout.readline())
            wait_until(lambda: row_of(database, ref).changed >= 500)
        finally:
            process.send_signal(signal.SIGKILL)
            process.communicate()
        row = row_of(database, ref)
        assert row.ended_at is None
        assert 500 <= row.changed < 20_000
        assert action_rows.state(row, datetime.now(UTC)) == "running"  # as far as one can know
        assert action_rows.state(row, datetime.now(UTC) + action_rows.ALIVE) == "interrupted"
        made = Actions(database)  # of another process, after it
        left = numbers(database)[DEAD]
        assert row.changed <= 20_000 - left <= row.changed + 500
        assert ended(database, made.begin(choose(REPLAY, Filter()), left, "ada")).changed == left
        made.stop(10)
        assert numbers(database) == {WAITING: 20_000}
