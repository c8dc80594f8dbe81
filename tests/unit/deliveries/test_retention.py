"""What is over is removed, by age and by size; what has to be delivered never is."""

import random
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import timedelta

import pytest
from sqlalchemy import Table, event, func, insert, select, text, update

from extension_kit.deliveries import retention
from extension_kit.deliveries.pauses import pause
from extension_kit.deliveries.retention import Cleaned, clean
from extension_kit.deliveries.tables import (
    DEAD,
    DELIVERED,
    DISCARDED,
    WAITING,
    attempts,
    deliveries,
    events,
    metadata,
    series,
    steps,
    subscriptions,
)
from extension_kit.deliveries.worker_rows import WorkerRow, known_workers, report
from extension_kit.store.database import Database
from extension_kit.store.size import live_bytes
from tests.support.databases import opened
from tests.support.past_events import NOW, add_event, days_ago
from tests.support.waiting import wait_until

NOTHING = Cleaned(0, 0, 0, 0, 0)
PLENTY = 10_000.0


def kept(database: Database) -> list[str]:
    with database.read() as connection:
        return list(connection.execute(select(events.c.event_id).order_by(events.c.ref)).scalars())


def rows(database: Database, *tables: Table) -> list[int]:
    with database.read() as connection:
        return [connection.execute(select(func.count()).select_from(table)).scalar_one() for table in tables]


@pytest.mark.parametrize(
    ("delivered", "stays"),
    [
        ([], False),
        ([DELIVERED], False),
        ([DISCARDED], False),
        ([DEAD], False),
        ([DELIVERED, DEAD, DISCARDED], False),
        ([WAITING], True),
        ([DELIVERED, WAITING], True),
        ([(DELIVERED, 29.9)], True),
        ([(DEAD, 29.9)], True),
        ([(DELIVERED, 100), (DEAD, 1)], True),
        ([(DELIVERED, 30.1)], False),
    ],
)
def test_an_old_event_stays_until_its_last_delivery_has_ended_long_ago(
    database: Database, delivered: Sequence[str | tuple[str, float]], stays: bool
) -> None:
    add_event(database, "old", *delivered)
    add_event(database, "new", DELIVERED, days=1)

    cleaned = clean(database, 30, PLENTY, NOW)

    assert kept(database) == (["old", "new"] if stays else ["new"])
    assert cleaned == Cleaned(0 if stays else 1, 0, 0, 0, 0)


def test_deliveries_and_attempts_go_with_their_event(database: Database) -> None:
    add_event(database, "old", DELIVERED, DEAD)
    add_event(database, "waiting", WAITING)

    clean(database, 30, PLENTY, NOW)

    assert rows(database, events, deliveries, attempts) == [1, 1, 1]


def test_there_is_nothing_to_do_the_second_time(database: Database) -> None:
    add_event(database, "old", DELIVERED)

    assert clean(database, 30, PLENTY, NOW).events == 1
    assert clean(database, 30, PLENTY, NOW) == NOTHING


def test_events_behind_many_that_have_to_stay_are_removed(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "_BATCH", 3)
    for number in range(20):
        add_event(database, f"{number}", WAITING if number < 8 or number % 3 == 0 else DELIVERED)

    cleaned = clean(database, 30, PLENTY, NOW)

    assert kept(database) == [str(number) for number in (*range(8), 9, 12, 15, 18)]
    assert cleaned.events == 8


def test_the_work_grows_no_faster_than_the_number_of_events_that_have_to_stay(sqlite: Database) -> None:
    def work_of_cleaning() -> int:
        """In thousands of steps of SQLite's virtual machine."""
        done = 0

        def count() -> None:
            nonlocal done
            done += 1

        sqlite.dispose()
        event.listen(sqlite.engine, "connect", lambda driver, _: driver.set_progress_handler(count, 1000))
        clean(sqlite, 0, 0, NOW)
        return done

    def add_waiting(*numbers: int) -> None:
        with sqlite.transaction() as connection:
            row = {"source": "s", "name": "n", "received_at": days_ago(1), "body": b""}
            connection.execute(insert(events), [{**row, "event_id": str(number)} for number in numbers])
            refs = connection.execute(select(events.c.ref).where(events.c.ref > numbers[0])).scalars()
            row = {"listener": "l", "status": WAITING, "created_at": days_ago(1), "due_at": days_ago(1)}
            connection.execute(insert(deliveries), [{**row, "event_ref": ref} for ref in refs])

    add_waiting(*range(1000))
    work_for_1000 = work_of_cleaning()
    add_waiting(*range(1000, 2000))

    assert 0 < work_of_cleaning() < 3 * work_for_1000


def test_others_write_between_two_batches(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "_BATCH", 1)
    for number in range(30):
        add_event(database, f"{number}", DELIVERED)
    cleaned: list[Cleaned] = []
    cleaner = threading.Thread(target=lambda: cleaned.append(clean(database, 30, PLENTY, NOW)))
    cleaner.start()
    for number in range(20):
        add_event(database, f"new {number}", DELIVERED, days=0)
    cleaner.join(60)

    assert cleaned[0].events == 30
    assert kept(database) == [f"new {number}" for number in range(20)]


def test_a_dead_letter_that_is_replayed_meanwhile_stays(database: Database) -> None:
    """Seen as removable, replayed by somebody, looked at again."""
    ref = add_event(database, "dead", DEAD)
    removable = retention._without(deliveries.c.status == WAITING)
    with database.transaction() as connection:
        connection.execute(update(deliveries).values(status=WAITING, ended_at=None))

    assert retention._remove_unless_changed(database, [ref], removable) == 0
    assert kept(database) == ["dead"]


def test_a_dead_letter_that_is_being_replayed_stays(postgresql_database: Database) -> None:
    """The change is not committed yet when its event is about to be removed, so that nobody else sees it."""
    database = postgresql_database
    add_event(database, "dead", DEAD)
    cleaned: list[Cleaned] = []
    cleaner = threading.Thread(target=lambda: cleaned.append(clean(database, 30, PLENTY, NOW)))
    with database.transaction() as connection:
        connection.execute(update(deliveries).values(status=WAITING, ended_at=None))
        cleaner.start()
        wait_for_a_lock(database)
    cleaner.join(30)

    assert cleaned == [NOTHING]
    assert kept(database) == ["dead"]


def test_an_event_that_is_getting_another_delivery_stays(postgresql_database: Database) -> None:
    database = postgresql_database
    ref = add_event(database, "known", DELIVERED)
    row = {"event_ref": ref, "listener": "another", "created_at": NOW, "due_at": NOW}
    with database.transaction() as connection:
        connection.execute(insert(deliveries).values(row))
        assert clean(database, 30, PLENTY, NOW) == NOTHING

    assert clean(database, 30, PLENTY, NOW) == NOTHING
    assert kept(database) == ["known"]


def wait_for_a_lock(database: Database) -> None:
    """Until a transaction of the tests waits for one."""
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )

    def somebody_waits() -> bool:
        with database.transaction() as connection:
            return bool(connection.execute(waiting).scalar())

    wait_until(somebody_waits)


@pytest.fixture
def postgresql_database(postgresql_url: str) -> Iterator[Database]:
    with opened(postgresql_url) as database:
        yield database


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "_BATCH", 2)


def fill(database: Database, *became: str) -> None:
    """One event for each, the first the oldest, of 100 kB that cannot be compressed, all from yesterday."""
    for number, status in enumerate(became):
        add_event(database, f"{number}", status, days=1 - number / 1000, body=random.Random(number).randbytes(100_000))


def live(database: Database) -> int:
    with database.read() as connection:
        return live_bytes(connection, metadata)


@pytest.mark.usefixtures("small_batches")
def test_without_room_the_oldest_go_first(database: Database) -> None:
    fill(database, *[DELIVERED] * 20)

    cleaned = clean(database, 30, 1, NOW)

    left = kept(database)
    assert left == [str(number) for number in range(20 - len(left), 20)]
    assert 4 <= len(left) < 10  # of 100 kB each
    assert live(database) <= 1_000_000
    assert cleaned == Cleaned(20 - len(left), 0, 0, 0, 0)


def test_with_room_nothing_goes(database: Database) -> None:
    fill(database, *[DELIVERED] * 5)

    assert clean(database, 30, 2, NOW) == NOTHING


def test_room_that_was_made_counts_even_where_the_files_stay_as_they_are(database: Database) -> None:
    fill(database, *[DELIVERED] * 20)
    clean(database, 30, 1, NOW)
    left = kept(database)

    assert clean(database, 30, 1, NOW) == NOTHING
    assert kept(database) == left


@pytest.mark.usefixtures("small_batches")
def test_what_waits_stays_whatever_the_limits(database: Database) -> None:
    fill(database, *[WAITING, WAITING, DELIVERED, DEAD, DISCARDED, WAITING])

    assert clean(database, 0, 0, NOW) == Cleaned(3, 0, 0, 0, 0)
    assert kept(database) == ["0", "1", "5"]


@pytest.mark.usefixtures("small_batches")
def test_dead_letters_go_last_for_want_of_room(database: Database) -> None:
    fill(database, *[DEAD] * 5, *[DELIVERED] * 10)

    assert clean(database, 30, 1, NOW).dead_letters == 0
    assert kept(database)[:5] == ["0", "1", "2", "3", "4"]

    dead = clean(database, 30, 0.4, NOW).dead_letters
    assert 2 <= dead < 5
    assert kept(database) == [str(number) for number in range(dead, 5)]


def test_the_file_shrinks(sqlite: Database) -> None:
    fill(sqlite, *[DELIVERED] * 20)
    sqlite.dispose()  # writes the log into the file
    before = sqlite.path.stat().st_size

    clean(sqlite, 30, 0.5, NOW)
    sqlite.dispose()

    assert before > 1_900_000
    assert sqlite.path.stat().st_size < 600_000


def test_a_file_that_cannot_shrink_is_left_alone(sqlite_url: str) -> None:
    """One whose tables were made without preparing it for that."""
    database = Database(sqlite_url)
    database.create()
    with closing(sqlite3.connect(database.path)) as connection:
        connection.executescript("PRAGMA journal_mode=WAL; CREATE TABLE first (a)")
    with opened(sqlite_url) as database:
        fill(database, *[DELIVERED] * 10)

        assert clean(database, 30, 0, NOW).events == 10


def test_series_without_events_are_forgotten(database: Database) -> None:
    add_event(database, "waiting", WAITING, in_series="waiting")
    with database.transaction() as connection:
        for key, days in {"old": 31, "new": 29, "waiting": 31}.items():
            connection.execute(insert(series).values(key=key, last_count=1, last_at=days_ago(days)))

    assert clean(database, 30, PLENTY, NOW) == Cleaned(0, 0, 1, 0, 0)
    with database.read() as connection:
        assert set(connection.execute(select(series.c.key)).scalars()) == {"new", "waiting"}


@pytest.mark.usefixtures("small_batches")
def test_steps_are_forgotten_after_a_day(database: Database) -> None:
    with database.transaction() as connection:
        for number in range(7):
            row = {"run": "t/1", "step_id": f"{number}", "body": b"", "seen_at": NOW - timedelta(hours=20 + number)}
            connection.execute(insert(steps).values(row))

    assert clean(database, 30, PLENTY, NOW) == Cleaned(0, 0, 0, 2, 0)
    with database.read() as connection:
        assert set(connection.execute(select(steps.c.step_id)).scalars()) == {"0", "1", "2", "3", "4"}


def test_subscriptions_that_have_expired_are_removed_once_nothing_waits_for_them(database: Database) -> None:
    refs = {}
    with database.transaction() as connection:
        for name, expires_at in {
            "for ever": None,
            "expired": days_ago(1),
            "later": days_ago(-1),
            "waiting": days_ago(1),
        }.items():
            row = {"protocol": "p", "name": name, "sender": "http", "target": {"url": "http://x"}}
            values = {**row, "expires_at": expires_at, "created_at": days_ago(2)}
            added = connection.execute(insert(subscriptions).values(values).returning(subscriptions.c.ref))
            refs[name] = added.scalar_one()
    add_event(database, "e", WAITING)
    with database.transaction() as connection:
        connection.execute(update(deliveries).values(listener=f"subscription:{refs['waiting']}"))

    assert clean(database, 30, PLENTY, NOW) == Cleaned(0, 0, 0, 0, 1)

    with database.transaction() as connection:
        assert set(connection.execute(select(subscriptions.c.name)).scalars()) == {"for ever", "later", "waiting"}
        connection.execute(update(deliveries).values(status=DELIVERED, ended_at=NOW))
    assert clean(database, 30, PLENTY, NOW) == Cleaned(0, 0, 0, 0, 1)


def test_rows_of_workers_without_a_sign_of_life_for_a_day_are_removed(database):
    row = WorkerRow("old", "host", 1, days_ago(5), days_ago(1.1), 16, 0)
    with database.transaction() as connection:
        report(connection, row)
        report(connection, row._replace(key="new", seen_at=days_ago(0.9)))
    assert clean(database, 30, PLENTY, NOW) == Cleaned(0, 0, 0, 0, 0, workers=1)
    with database.read() as connection:
        assert [each.key for each in known_workers(connection)] == ["new"]


def test_pauses_that_nobody_needs_are_removed(database):
    with database.transaction() as connection:
        pause(connection, "subscription:1", "anna")
        pause(connection, "oncall", "anna")
    assert clean(database, 30, PLENTY, NOW) == Cleaned(0, 0, 0, 0, 0, pauses=1)
