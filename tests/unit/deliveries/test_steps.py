"""The steps of experiment runs are found again, and do not grow without bound."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta

from extension_kit.deliveries.step_memory import MOST, find_step, remember_step
from extension_kit.store.database import Database

NOW = datetime(2026, 11, 21, tzinfo=UTC)


def remember(database: Database, run: str, step_id: str, body: bytes, now: datetime = NOW, *, most: int = MOST) -> None:
    with database.transaction() as connection:
        remember_step(connection, run, step_id, body, now, most)


def test_a_step_is_found_by_its_run_and_id(database: Database) -> None:
    remember(database, "t/1", "a", b"first")
    remember(database, "t/1", "b", b"second")
    remember(database, "t/2", "a", b"of another run")

    assert find_step(database, "t/1", "a") == b"first"
    assert find_step(database, "t/1", "b") == b"second"
    assert find_step(database, "t/2", "a") == b"of another run"
    assert find_step(database, "t/3", "a") is None
    assert find_step(database, "t/1", "c") is None


def test_what_was_said_last_of_a_step_counts(database: Database) -> None:
    remember(database, "t/1", "a", b"started")
    remember(database, "t/1", "a", b"started again")

    assert find_step(database, "t/1", "a") == b"started again"


def test_a_step_is_remembered_with_the_event_that_told_of_it_or_not_at_all(database: Database) -> None:
    with suppress(ZeroDivisionError), database.transaction() as connection:
        remember_step(connection, "t/1", "a", b"body", NOW)
        _ = 1 / 0

    assert find_step(database, "t/1", "a") is None


def test_of_too_many_steps_in_a_run_the_newest_are_remembered(database: Database) -> None:
    remember(database, "t/2", "0", b"of another run")
    for number in range(5):
        remember(database, "t/1", str(number), b"body", NOW + timedelta(seconds=number), most=3)

    assert [find_step(database, "t/1", str(number)) for number in range(5)] == [None, None, b"body", b"body", b"body"]
    assert find_step(database, "t/2", "0") == b"of another run"


def test_of_too_many_steps_at_the_same_time_the_last_one_is_remembered(database: Database) -> None:
    for step_id in "ecabd":
        remember(database, "t/1", step_id, b"body", most=3)
        assert find_step(database, "t/1", step_id) == b"body"

    assert sum(find_step(database, "t/1", step_id) is not None for step_id in "ecabd") == 3
