"""The numbers of events to be filed and of deliveries to be made, on both stores."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import insert, update

from extension_kit.deliveries.backlog import read_backlog
from extension_kit.deliveries.inbox import Accepted, Inbox
from extension_kit.deliveries.inbox_tables import inbox as inbox_table
from extension_kit.deliveries.tables import DEAD, DELIVERED, DISCARDED, WAITING, deliveries, events
from extension_kit.deliveries.worker_rows import OpenCircuit, WorkerRow, report
from extension_kit.errors import StoreError
from tests.support.databases import opened


@pytest.fixture
def deliver(database):
    """Write deliveries down, by status and age in seconds."""

    def deliver(*found):
        now = datetime.now(UTC)
        with database.transaction() as connection:
            for number, (status, age) in enumerate(found, 1):
                made = now - timedelta(seconds=age)
                event = {"ref": number, "source": "test", "event_id": str(number), "name": "a", "body": b"{}"}
                connection.execute(insert(events).values(**event, received_at=made))
                delivery = {"event_ref": number, "listener": "l", "status": status}
                connection.execute(insert(deliveries).values(**delivery, created_at=made, due_at=now))

    return deliver


def counted(database, inbox):
    """The numbers of deliveries and events, and the ages of the oldest."""
    return read_backlog(database, inbox, (), 1000)[:4]


def test_nothing_waits_in_an_empty_database(database, inbox):
    assert counted(database, inbox) == (0, 0.0, 0, 0.0)


def test_what_has_ended_does_not_wait(database, inbox, deliver):
    deliver((DELIVERED, 50), (DEAD, 60), (DISCARDED, 70))
    assert counted(database, inbox) == (0, 0.0, 0, 0.0)


def test_the_age_is_that_of_the_oldest_one_waiting_however_often_it_was_tried(database, inbox, deliver):
    deliver((DELIVERED, 5000), (WAITING, 1000), (WAITING, 10))
    later = datetime.now(UTC) + timedelta(hours=1)
    with database.transaction() as connection:
        connection.execute(update(deliveries).values(attempts=7, due_at=later))
    backlog = read_backlog(database, inbox, (), 1000)
    assert backlog.waiting == 2
    assert 1000 <= backlog.oldest < 1100


def test_a_database_without_tables_is_an_error_and_not_an_empty_backlog(url):
    with opened(url, upgraded=False) as database, pytest.raises(StoreError):
        read_backlog(database, Inbox(database), (), 1000)


def test_events_that_are_not_filed_are_counted_however_many_came_together(database, inbox):
    inbox.append([Accepted(b"{}", ())])
    with inbox.database.transaction() as connection:
        connection.execute(update(inbox_table).values(received_at=datetime.now(UTC) - timedelta(seconds=1000)))
    inbox.append([Accepted(b"{}", ()), Accepted(b"{}", ())])
    backlog = read_backlog(database, inbox, (), 1000)
    assert (backlog.waiting, backlog.oldest, backlog.unfiled) == (0, 0.0, 3)
    assert 1000 <= backlog.oldest_unfiled < 1100


def test_an_event_from_a_clock_that_is_fast_has_no_age(database, inbox):
    inbox.append([Accepted(b"{}", ())])
    with inbox.database.transaction() as connection:
        connection.execute(update(inbox_table).values(received_at=datetime.now(UTC) + timedelta(hours=1)))
    assert counted(database, inbox) == (0, 0.0, 1, 0.0)


def test_a_missing_file_of_the_inbox_has_no_events(sqlite):
    assert counted(sqlite, Inbox(sqlite)) == (0, 0.0, 0, 0.0)


def test_due_deliveries_are_counted_by_listener(database, inbox, deliver):
    deliver((WAITING, 10))
    assert [(due.listener, due.number) for due in read_backlog(database, inbox, ["a"], 1000).due] == [
        ("a", 0),
        ("l", 1),
    ]


def test_workers_are_counted_while_they_live_and_each_open_circuit_once(database, inbox):
    now = datetime.now(UTC)
    circuits = [OpenCircuit("example.com", now), OpenCircuit("subscription:7", now)]
    with database.transaction() as connection:
        for key, seen_at, resting in (
            ("a", now, circuits),
            ("b", now, circuits[:1]),
            ("c", now.replace(year=2020), []),
        ):
            report(connection, WorkerRow(key, "host", 1, now, seen_at, 16, 0, resting))
    backlog = read_backlog(database, inbox, (), 1000)
    assert (backlog.workers, backlog.open_circuits) == (2, 2)


def test_the_room_of_the_database_is_told(database, inbox):
    room = read_backlog(database, inbox, (), 2.5).room
    assert room.used > 10_000
    assert room.limit == 2_500_000
    assert (room.free is None) != database.is_sqlite
    assert room.free is None or room.free > 0
