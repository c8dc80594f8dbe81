"""What was accepted is filed once, in its order, whatever happens between the commits of both."""

import logging
import sqlite3
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from sqlalchemy import insert, select, text, update

from extension_kit.agent.factory import EventFactory
from extension_kit.deliveries import filing as filing_module
from extension_kit.deliveries import inbox_rows
from extension_kit.deliveries.filing import Filing
from extension_kit.deliveries.inbox import Accepted, Inbox
from extension_kit.deliveries.inbox_rows import Unfiled
from extension_kit.deliveries.inbox_tables import inbox as inbox_table
from extension_kit.deliveries.outbox import Outbox
from extension_kit.deliveries.step_memory import find_step
from extension_kit.deliveries.subscription_matching import listener_key, matching
from extension_kit.deliveries.tables import deliveries, events, subscription_patterns, subscriptions
from extension_kit.errors import StoreError, StoreFull, StoreUnavailable
from extension_kit.events.event import Event
from tests.support.databases import opened
from tests.support.disks import small_disk
from tests.support.recording import Delivery, entry, rows, stored
from tests.support.waiting import wait_until

FACTORY = EventFactory()
POISON = "experiment.execution.canceled"  # no other test makes one


@pytest.fixture
def filing(database, inbox):
    return Filing(inbox, Outbox(database, matching), database)


def made(name="experiment.execution.created", *, run=1, **changes):
    return Event.from_body(FACTORY.event(name, tenant={"key": "t"}, execution_id=run, **changes))


def large():
    """An event with a body of 50 kB."""
    return Event.from_body({**FACTORY.event("experiment.execution.created"), "note": "x" * 50_000})


def accept(inbox, *accepted, listeners=("oncall",)):
    """Accept events in one commit."""
    inbox.append([Accepted(event.body, listeners) for event in accepted])


def test_events_keep_the_trace_in_which_they_came_first(database, inbox, filing):
    first, second = made(), made()
    traces = {first.id: "00-1-2-01 a=b", second.id: None}
    with closing(Inbox(database, keeps_traces=True)) as keeping:
        keeping.append([Accepted(each.body, ("oncall",), None, traces[each.id]) for each in (first, second)])
        keeping.append([Accepted(each.body, ("pager",), None, "00-3-4-01") for each in (first, second)])
    assert filing.file_all() == 4
    with database.read() as connection:
        assert dict(connection.execute(select(events.c.event_id, events.c.trace_context)).all()) == traces


def tried(filing):
    """The number of events that are filed; 0 while the database is not asked again."""
    try:
        return filing.file_all()
    except StoreUnavailable:
        return 0


def refs(inbox):
    with inbox.database.read() as connection:
        return connection.execute(select(inbox_table.c.ref)).scalars().all()


@contextmanager
def refused_events(database, name=POISON):
    """The database refuses events with a name meanwhile."""
    if database.is_sqlite:
        refuse = (
            f"CREATE TRIGGER strict BEFORE INSERT ON events WHEN NEW.name = '{name}' "
            "BEGIN SELECT RAISE(ABORT, 'not today'); END"
        )
        accept_again = "DROP TRIGGER strict"
    else:
        refuse = f"ALTER TABLE events ADD CONSTRAINT strict CHECK (name <> '{name}')"
        accept_again = "ALTER TABLE events DROP CONSTRAINT strict"
    with database.transaction() as connection:
        connection.execute(text(refuse))
    yield
    with database.transaction() as connection:
        connection.execute(text(accept_again))


class TestFiling:
    def test_an_event_has_its_columns_and_deliveries(self, database, inbox, filing):
        event = made("experiment.execution.failed")
        accept(inbox, event, listeners=("one", "two"))
        received = inbox.unfiled().since
        assert filing.file_all() == 1
        assert inbox.unfiled() == Unfiled(0, None)
        with database.read() as connection:
            row = connection.execute(events.select()).one()
            created = set(connection.execute(select(deliveries.c.created_at)).scalars())
        assert (row.source, row.event_id, row.name) == ("steadybit", event.id, "experiment.execution.failed")
        assert (row.subject, row.time, row.body) == (event.subject, event.time, event.body)
        assert (row.received_at, created) == (received, {received})
        assert stored(database) == [Delivery(event.id, each, event.series, 1) for each in ("one", "two")]

    def test_there_is_nothing_to_file(self, filing):
        assert filing.file_some() == filing.file_all() == 0
        assert not filing.is_elsewhere

    def test_an_event_that_nobody_wants_is_kept(self, database, inbox, filing):
        accept(inbox, made(), listeners=())
        assert filing.file_all() == 1
        assert rows(database, "events", "deliveries") == [1, 0]

    def test_the_places_in_a_series_are_those_in_which_events_came(self, database, inbox, filing):
        first, second, third, fourth, other = made(), made(), made(), made(), made(run=2)
        accept(inbox, first, other)
        accept(inbox, second, third)
        assert filing.file_all() == 4
        accept(inbox, fourth)
        assert filing.file_all() == 1
        found = {each.event_id: each.place for each in stored(database)}
        assert found == {first.id: 1, second.id: 2, third.id: 3, fourth.id: 4, other.id: 1}

    def test_the_step_that_an_event_starts_is_remembered(self, database, inbox, filing):
        event = made("experiment.execution.step-started")
        accept(inbox, event)
        filing.file_all()
        assert find_step(database, event.series, event.experiment_step_execution.id) == event.body

    def test_a_portion_at_a_time(self, database, inbox, filing, monkeypatch):
        monkeypatch.setattr(inbox_rows, "_EVENTS", 3)
        for size in (2, 1, 1, 5):
            accept(inbox, *[made() for _ in range(size)])
        assert [filing.file_some() for _ in range(4)] == [3, 1, 5, 0]
        assert rows(database, "events", "deliveries") == [9, 9]

    def test_events_have_the_time_of_the_first_of_their_portion(self, database, inbox, filing):
        now = datetime.now(UTC).replace(microsecond=0)
        ages = (30.0, 29.5, 10.0)
        for age in ages:
            accept(inbox, made())
            with inbox.database.transaction() as connection:
                aged = now - timedelta(seconds=age)
                last = inbox_table.c.ref == max(refs(inbox))
                connection.execute(update(inbox_table).where(last).values(received_at=aged))
        assert filing.file_all() == 3
        with database.read() as connection:
            times = connection.execute(select(events.c.received_at).order_by(events.c.ref)).scalars().all()
        assert [(now - at).total_seconds() for at in times] == [30.0, 30.0, 10.0]


class TestKnownEvents:
    def test_one_that_came_twice_is_filed_once(self, database, inbox, filing):
        event, other = made(), made()
        accept(inbox, event, event)
        accept(inbox, event, other)
        assert filing.file_all() == 4
        assert stored(database) == [
            Delivery(event.id, "oncall", event.series, 1),
            Delivery(other.id, "oncall", other.series, 2),
        ]

    def test_one_that_was_filed_before_changes_nothing(self, database, inbox, filing):
        event = made()
        for _ in range(2):
            accept(inbox, event)
            assert filing.file_all() == 1
        assert stored(database) == [Delivery(event.id, "oncall", event.series, 1)]
        assert refs(inbox) == []

    def test_another_listener_gets_it_with_the_place_that_it_has(self, database, inbox, filing):
        event = made()
        accept(inbox, event)
        accept(inbox, made())
        filing.file_all()
        accept(inbox, event, listeners=("two",))
        filing.file_all()
        assert stored(database)[-1] == Delivery(event.id, "two", event.series, 1)

    def test_one_that_a_process_recorded_in_the_database_itself(self, database, inbox, filing):
        event = made()
        Outbox(database).record([entry(event.id, "oncall", name=event.name, series=event.series)])
        accept(inbox, event)
        assert filing.file_all() == 1
        assert stored(database) == [Delivery(event.id, "oncall", event.series, 1)]


class TestSubscriptions:
    """A subscription gets what was received after it was made, and not what was filed then."""

    def subscribe(self, database, made_at):
        """Make a subscription, and return the listener key of its deliveries."""
        row = {"protocol": "p", "name": str(made_at), "sender": "http", "target": {}, "enabled": True, "scope": ""}
        with database.transaction() as connection:
            new = insert(subscriptions).values(**row, created_at=made_at)
            ref = connection.execute(new.returning(subscriptions.c.ref)).scalar_one()
            pattern = {"subscription_ref": ref, "pattern": "*", "subject": None, "scope": ""}
            connection.execute(insert(subscription_patterns).values(pattern))
        return listener_key(ref)

    def test_who_subscribed_before(self, database, inbox, filing):
        key = self.subscribe(database, datetime.now(UTC))
        accept(inbox, made(), listeners=())
        filing.file_all()
        assert [each.listener for each in stored(database)] == [key]

    def test_who_subscribed_after(self, database, inbox, filing):
        accept(inbox, made(), listeners=())
        later = inbox.unfiled().since + timedelta(microseconds=1)
        apart = timedelta(0) if database.is_sqlite else timedelta(seconds=1)  # clocks of different machines
        wanted, _ = (self.subscribe(database, later + each) for each in (apart - timedelta(microseconds=1), apart))
        filing.file_all()
        assert [each.listener for each in stored(database)] == [wanted]


class TestFailures:
    def test_filed_again_after_an_end_before_the_removal_nothing_is_doubled(self, database, inbox, filing):
        """On SQLite, where both are commits of different files."""
        first, second = made(), made()
        accept(inbox, first)
        accept(inbox, second)
        with inbox.database.transaction() as connection:
            connection.execute(text("CREATE TABLE kept AS SELECT * FROM inbox"))
        assert filing.file_all() == 2
        before = stored(database)
        with inbox.database.transaction() as connection:
            connection.execute(text("INSERT INTO inbox SELECT * FROM kept"))
        assert filing.file_all() == 2
        assert stored(database) == before
        accept(inbox, made())
        assert filing.file_all() == 1
        assert [each.place for each in stored(database)] == [1, 2, 3]

    def test_if_the_removal_fails_it_is_said_and_tried_again(self, database, inbox, filing):
        accept(inbox, made())
        with inbox.database.transaction() as connection:
            if database.is_sqlite:
                strict = "CREATE TRIGGER strict BEFORE DELETE ON inbox BEGIN SELECT RAISE(ABORT, 'not today'); END"
                connection.execute(text(strict))
            else:
                refuse = (
                    "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not today'; END $$"
                )
                strict = "CREATE TRIGGER strict BEFORE DELETE ON inbox FOR EACH ROW EXECUTE FUNCTION refuse()"
                connection.execute(text(refuse))
                connection.execute(text(strict))
        with pytest.raises(Exception, match="not today"):
            filing.file_some()
        assert inbox.unfiled().events == 1
        with inbox.database.transaction() as connection:
            on = "" if database.is_sqlite else " ON inbox"
            connection.execute(text(f"DROP TRIGGER strict{on}"))
        assert filing.file_all() == 1
        assert rows(database, "events", "deliveries") == [1, 1]

    def test_one_that_cannot_be_filed_holds_up_no_other_and_is_filed_later(self, database, inbox, filing, caplog):
        first, last = made(), made()
        poison = made(POISON)
        accept(inbox, first, poison, last)
        with refused_events(database):
            assert filing.file_all() == 3
            assert [each.event_id for each in stored(database)] == [first.id, last.id]
            assert inbox.unfiled().events == 1
            assert [record.levelno for record in caplog.records] == [logging.ERROR]
            assert "of the inbox cannot be filed, again in a minute" in caplog.text
            assert filing.file_all() == 0
            accept(inbox, later := made())
            assert filing.file_all() == 1
        assert filing.file_all() == 0  # not before a minute has passed
        with inbox.database.transaction() as connection:
            aside = datetime.now(UTC) - timedelta(seconds=61)
            connection.execute(update(inbox_table).values(set_aside_at=aside))
        assert filing.file_all() == 1
        assert [each.event_id for each in stored(database)] == [first.id, last.id, later.id, poison.id]
        assert refs(inbox) == []

    def test_a_body_that_no_release_can_read_is_kept_and_holds_up_no_other(self, database, inbox, filing, caplog):
        event = made()
        inbox.append([Accepted(b"no JSON", ("oncall",)), Accepted(event.body, ("oncall",))])
        assert filing.file_all() == 2
        assert [each.event_id for each in stored(database)] == [event.id]
        assert inbox.unfiled().events == 1
        assert caplog.text.count("of the inbox cannot be filed, again in a minute") == 1

    def test_what_is_set_aside_stays_in_the_time_that_it_was_received(self, database, inbox, filing):
        accept(inbox, made(POISON))
        before = inbox.unfiled()
        with refused_events(database):
            filing.file_all()
        assert inbox.unfiled() == before

    @pytest.mark.parametrize("table", ["events", "deliveries"])
    def test_tables_that_are_missing_are_no_fault_of_the_events(self, database, inbox, filing, table, caplog):
        accept(inbox, made())
        accept(inbox, made())
        with database.transaction() as connection:
            connection.execute(text(f"ALTER TABLE {table} RENAME TO elsewhere"))
        with pytest.raises(StoreError, match="lacks tables"):
            filing.file_some()
        assert inbox.unfiled().events == 2
        assert caplog.records == []
        with database.transaction() as connection:
            connection.execute(text(f"ALTER TABLE elsewhere RENAME TO {table}"))
        assert filing.file_all() == 2
        assert rows(database, "events", "deliveries") == [2, 2]


class TestOfAFile:
    def test_a_locked_database_has_nothing_filed_and_nothing_is_lost(self, sqlite_url):
        with opened(sqlite_url) as database:
            database.timeout = 0.2
            inbox = Inbox(database)
            inbox.prepare()
            filing = Filing(inbox, Outbox(database, matching), database)
            other = sqlite3.connect(database.path, isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
            accept(inbox, made())
            with pytest.raises(StoreUnavailable):
                filing.file_some()
            accept(inbox, made())
            assert inbox.unfiled().events == 2
            other.execute("ROLLBACK")
            other.close()
            assert wait_until(partial(tried, filing)) == 2
            assert rows(database, "events", "deliveries") == [2, 2]
            filing.close()

    def test_a_locked_inbox_is_filed_again_and_doubles_nothing(self, sqlite_url):
        with opened(sqlite_url) as database:
            database.timeout = 0.2
            inbox = Inbox(database)
            inbox.prepare()
            filing = Filing(inbox, Outbox(database, matching), database)
            accept(inbox, made())
            other = sqlite3.connect(inbox.database.path, isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreUnavailable):
                filing.file_some()
            assert rows(database, "events", "deliveries") == [1, 1]
            other.execute("ROLLBACK")
            other.close()
            assert wait_until(partial(tried, filing)) == 1
            assert rows(database, "events", "deliveries") == [1, 1]
            filing.close()

    def test_a_missing_inbox(self, sqlite):
        with pytest.raises(StoreUnavailable, match=r"extension\.db-inbox cannot be opened"):
            Filing(Inbox(sqlite), Outbox(sqlite, matching), sqlite).file_some()

    def test_one_that_stops_late_removes_nothing_that_came_since(self, sqlite):
        """Two workers have read the same events; one is done with them, and new ones have come."""
        inbox = Inbox(sqlite)
        inbox.prepare()

        class Late(Outbox):
            def record(self, entries):
                assert Filing(inbox, Outbox(sqlite, matching), sqlite).file_all() == 1
                accept(inbox, made())
                return super().record(entries)

        accept(inbox, made())
        assert Filing(inbox, Late(sqlite, matching), sqlite).file_some() == 1
        assert inbox.unfiled().events == 1
        inbox.close()

    def test_a_disk_that_is_full_of_accepted_events_has_room_for_filing_them(self, tmp_path):
        with small_disk(tmp_path / "disk", "30m") as disk, opened(f"sqlite:///{disk}/extension.db") as database:
            inbox = Inbox(database)
            inbox.prepare()
            with suppress(StoreFull):
                for _ in range(1000):
                    accept(inbox, large())
            number = inbox.unfiled().events
            assert 100 < number < 1000
            filing = Filing(inbox, Outbox(database, matching), database)
            assert filing.file_all() == number
            assert rows(database, "events", "deliveries") == [number, number]
            filing.close()

    def test_the_file_gives_its_space_back_when_it_is_empty(self, sqlite, monkeypatch):
        monkeypatch.setattr(filing_module, "_KEPT", 1_000_000)
        inbox = Inbox(sqlite)
        inbox.prepare()
        for _ in range(100):
            accept(inbox, large())
        filing = Filing(inbox, Outbox(sqlite, matching), sqlite)
        assert filing.file_all() == 100
        assert wait_until(lambda: filing.file_some() == 0 and inbox.database.path.stat().st_size < 1_000_000)
        accept(inbox, made())
        assert filing.file_all() == 1
        filing.close()


class TestOnPostgresql:
    @pytest.fixture
    def database(self, used_postgresql_url):
        with opened(used_postgresql_url, upgraded=False) as database:
            yield database

    def test_one_process_files_at_a_time(self, database, inbox, filing):
        accept(inbox, made())
        with database.transaction() as connection:
            lock = "SELECT pg_try_advisory_xact_lock('inbox'::regclass::oid::bigint)"
            assert connection.execute(text(lock)).scalar_one()
            assert filing.file_some() == 0
            assert filing.is_elsewhere
        assert filing.file_some() == 1
        assert not filing.is_elsewhere

    def test_one_that_stands_still_in_the_middle_does_not_hold_up_another_for_long(self, database, inbox, filing):
        seen = []

        class Still(Outbox):
            def write(self, connection, entries):
                seen.append(filing.file_some())
                wait_until(filing.file_some)
                return super().write(connection, entries)

        accept(inbox, made())
        url = database.url.render_as_string(hide_password=False)
        with opened(url, upgraded=False) as other, pytest.raises(StoreUnavailable):
            Filing(Inbox(other), Still(other, matching), other).file_some()
        assert seen == [0]
        assert rows(database, "inbox", "events", "deliveries") == [0, 1, 1]

    def test_it_is_removed_with_the_commit_that_files_it(self, database, inbox, filing):
        seen = []

        class Failing(Outbox):
            def write(self, connection, entries):
                super().write(connection, entries)
                seen.append(len(entries))
                raise StoreUnavailable("The server has gone")

        accept(inbox, made())
        with pytest.raises(StoreUnavailable):
            Filing(inbox, Failing(database, matching), database).file_some()
        assert seen == [1]
        assert rows(database, "inbox", "events", "deliveries") == [1, 0, 0]
        assert filing.file_some() == 1
        assert rows(database, "inbox", "events", "deliveries") == [0, 1, 1]

    def test_two_that_set_the_same_event_aside_keep_it_once(self, database, inbox, filing):
        poison = made(POISON)
        accept(inbox, poison)

        class Slow(Outbox):
            def record(self, entries):
                assert filing.file_some() == 1
                return super().record(entries)

        with refused_events(database):
            assert Filing(inbox, Slow(database, matching), database).file_some() == 1
        assert inbox.unfiled().events == 1


def test_events_of_a_run_are_read_after_filing_as_before(database, inbox, filing):
    """The step of a target's event is found in the inbox, then in the database."""
    step = made("experiment.execution.step-started")
    inbox.append([Accepted(step.body, ("oncall",), (step.series, step.experiment_step_execution.id))])

    def find(run, step_id):
        return inbox.find_step(run, step_id) or find_step(database, run, step_id)

    target = FACTORY.event(
        "experiment.execution.target-started",
        tenant={"key": "t"},
        execution_id=1,
        step_execution_id=step.experiment_step_execution.id,
    )
    for source in (inbox.find_step, partial(find_step, database)):
        assert Event.from_body(target, find_step=find).step.id == step.experiment_step_execution.id
        assert source(step.series, step.experiment_step_execution.id) == step.body
        filing.file_all()
