"""Due deliveries are counted by listener, up to a maximum and without reading what waits, on both stores."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import event, insert, text

from extension_kit.deliveries import due
from extension_kit.deliveries.due import count_due
from extension_kit.deliveries.pauses import pause
from extension_kit.deliveries.tables import BEHIND, CLAIMED, DELIVERED, LATER, READY, deliveries, events
from tests.support.queues import Deliveries, in_


@pytest.fixture
def waiting(database):
    return Deliveries(database)


@pytest.fixture
def count(database):
    """The numbers of due deliveries by label."""

    def count(*listeners):
        with database.read() as connection:
            return {each.listener: each.number for each in count_due(connection, listeners, datetime.now(UTC))}

    return count


@pytest.fixture
def ages(database):
    """The seconds for which the oldest has waited, by label."""

    def ages():
        with database.read() as connection:
            return {each.listener: each.oldest for each in count_due(connection, (), datetime.now(UTC))}

    return ages


def test_nothing_is_due_in_an_empty_database(count):
    assert count() == {}
    assert count("b", "a") == {"a": 0, "b": 0}


def test_due_is_what_can_be_attempted_or_is_being_attempted(waiting, count):
    waiting.add("1", "2", due_at=in_(-10))
    waiting.add("3", stage=LATER, due_at=in_(-10))
    waiting.add("4", stage=CLAIMED, due_at=in_(-10))
    waiting.add("5", stage=LATER, due_at=in_(10))
    waiting.add("6", stage=BEHIND, due_at=in_(-10))
    waiting.add("7", status=DELIVERED, stage=None, due_at=in_(-10))
    assert count("oncall", "quiet") == {"oncall": 4, "quiet": 0}


def test_of_paused_receivers_nothing_is_due(database, waiting, count, ages):
    for listener in ("oncall", "subscription:5", "other-function"):
        for number, stage in enumerate((READY, LATER, CLAIMED)):
            waiting.add(f"{listener}-{number}", listener=listener, stage=stage, due_at=in_(-10))
    waiting.add("1", listener="subscription:44", due_at=in_(-10))
    waiting.add("2", listener="subscription:6", due_at=in_(-10))
    with database.transaction() as connection:
        for listener in ("oncall", "subscription:5"):
            pause(connection, listener, "ada")
    assert count("oncall") == {"oncall": 0, "other-function": 3, "subscription": 2}
    assert "oncall" not in {label for label, age in ages().items() if age}


def test_the_age_is_that_of_the_one_that_has_waited_longest_for_a_worker(waiting, ages):
    waiting.add("1", due_at=in_(-10))
    waiting.add("2", due_at=in_(-1000))
    waiting.add("3", stage=CLAIMED, due_at=in_(-5000))
    waiting.add("4", stage=BEHIND, due_at=in_(-5000))
    waiting.add("5", listener="a", stage=CLAIMED, due_at=in_(-5000))
    waiting.add("6", listener="b", stage=LATER, due_at=in_(-2000))
    waiting.add("7", listener="c", due_at=in_(1000))  # of a clock that is fast
    found = ages()
    assert 1000 <= found["oncall"] < 1100
    assert 2000 <= found["b"] < 2100
    assert (found["a"], found["c"]) == (0, 0)


@pytest.mark.parametrize("stage", [READY, LATER, CLAIMED])
def test_a_count_ends_at_the_maximum(waiting, count, monkeypatch, stage):
    monkeypatch.setattr(due, "MOST", 3)
    waiting.add("1", "2", "3", "4", "5", stage=stage, due_at=in_(-10))
    assert count() == {"oncall": 3}


def test_many_subscriptions_share_a_label_and_so_do_listeners_beyond_the_first(waiting, count, monkeypatch):
    monkeypatch.setattr(due, "MOST_LISTENERS", 3)
    for listener in ("a", "c", "e", "z", "subscription:1", "subscription:2", "subscription:30"):
        for stage in (READY, LATER):
            waiting.add(f"{listener}-{stage}", listener=listener, stage=stage, due_at=in_(-10))
    assert count("z") == {"a": 2, "c": 2, "z": 2, "other": 2, "subscription": 6}
    assert count("n", "o", "p", "q") == {"n": 0, "o": 0, "p": 0, "other": 8, "subscription": 6}


class TestBesideManyThatWait:
    """Beside many that are behind others, not due yet, or of a paused receiver."""

    MANY = 5000  # of each kind

    @pytest.fixture
    def statements(self, database, waiting, monkeypatch):
        """The statements of a count, with their values."""
        monkeypatch.setattr(due, "MOST", 100)
        monkeypatch.setattr(due, "MOST_AGES", 100)
        self.fill(database)
        waiting.add("1", due_at=in_(-10))
        waiting.add("2", listener="subscription:8", due_at=in_(-10))
        waiting.add("3", stage=LATER, due_at=in_(-10))
        with database.transaction() as connection:
            pause(connection, "paused", "ada")
            pause(connection, "subscription:7", "ada")
        with database.transaction() as connection:
            connection.execute(text("ANALYZE"))
        found = []
        with database.read() as connection:
            event.listen(connection, "before_cursor_execute", lambda *given: found.append((given[2], given[3])))
            counted = count_due(connection, ["oncall"], datetime.now(UTC))
        assert {each.listener: each.number for each in counted} == {"oncall": 2, "crowd": 100, "subscription": 1}
        return found

    def fill(self, database):
        now = datetime.now(UTC)
        numbers = range(1, self.MANY + 1)
        made = {"source": "s", "name": "n", "received_at": now, "body": b"{}"}
        with database.transaction() as connection:
            connection.execute(insert(events), [{"ref": each, "event_id": f"many-{each}", **made} for each in numbers])
            if not database.is_sqlite:
                connection.execute(text(f"ALTER SEQUENCE events_ref_seq RESTART WITH {self.MANY + 1}"))
            for listener, stage, due_at in (
                ("paused", READY, now),
                ("subscription:7", READY, now),
                ("crowd", READY, now),
                ("later", LATER, in_(86_400)),
                ("behind", BEHIND, now),
            ):
                row = {"listener": listener, "stage": stage, "created_at": now, "due_at": due_at}
                shards = 1 if database.is_sqlite else 32
                connection.execute(
                    insert(deliveries), [{"event_ref": each, "shard": each % shards, **row} for each in numbers]
                )

    def test_it_reads_no_more_of_them_than_it_counts(self, database, statements):
        with database.read() as connection:
            driver = connection.connection.driver_connection
            if database.is_sqlite:
                assert self.steps(driver, statements) < self.MANY  # reading each row of one kind takes more
                return
            for statement, values in statements:
                rows = driver.execute(f"EXPLAIN (ANALYZE, TIMING OFF, COSTS OFF) {statement}", values).fetchall()
                plan = "\n".join(row[0] for row in rows)
                assert "Seq Scan on deliveries" not in plan, plan
                assert "Rows Removed by Filter" not in plan, plan

    def steps(self, driver, statements):
        """The steps of SQLite's machine that statements take."""
        steps = 0

        def count_steps():
            nonlocal steps
            steps += 10

        driver.set_progress_handler(count_steps, 10)
        try:
            for statement, values in statements:
                driver.execute(statement, values).fetchall()
        finally:
            driver.set_progress_handler(None, 0)
        return steps
