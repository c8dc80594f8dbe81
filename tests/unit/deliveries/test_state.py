"""The rows of the state on each store, and the changes that are not written yet."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from extension_kit.deliveries.attempt import after_attempt
from extension_kit.deliveries.claims import Claim
from extension_kit.deliveries.handler import Due
from extension_kit.deliveries.retention import clean
from extension_kit.deliveries.retry import RetrySchedule
from extension_kit.deliveries.state import ChangedOutcome, SeriesState, States, StoredState, UnwrittenState, write_state
from extension_kit.deliveries.state_rows import remove_expired, write_additions, write_changes
from extension_kit.events.state_values import Addition, Change
from extension_kit.senders import Outcome
from extension_kit.store.database import Database
from tests.support.databases import opened
from tests.support.waiting import wait_until
from tests.support.workers import TIMEOUT

NOW = datetime.now(UTC)
TOMORROW = NOW + timedelta(days=1)


def kept(value, expires_at=TOMORROW):
    return Change(value, expires_at)


REMOVED = Change(None, TOMORROW)


def write(database, *changes, extension="oncall"):
    with database.transaction() as connection:
        write_changes(connection, [(extension, key, change) for key, change in changes], NOW)


def found_by(database, query):
    with database.read() as connection:
        return connection.exec_driver_sql(query).first()


def due(ref=1, series="t/1", listener="page"):
    return Due(ref, 1, 0, listener, NOW, "n", f"{ref}", b"{}", "steadybit", None, None, series, ref)


def end(outcome, ref=1, **options):
    claim = Claim(due(ref, **options), None, 0, NOW, 0, NOW, None)
    return after_attempt(claim, RetrySchedule(), outcome, NOW, NOW)


def changed(ref=1, series="t/1", **values):
    changes = {key: kept(value) for key, value in values.items()}
    return end(ChangedOutcome("delivered", extension="oncall", changes=changes), ref, series=series)


class TestRows:
    def test_values_are_found_by_extension_and_key(self, database):
        write(database, ("b", kept(b'"\xc3\xbc"')), ("a", kept(b"1")))
        write(database, ("a", kept(b"2")), extension="other")
        stored = StoredState(database, "oncall")
        assert [stored.find(key) for key in "abc"] == [b"1", b'"\xc3\xbc"', None]
        assert StoredState(database, "other").keys("", 10) == ["a"]

    def test_values_are_replaced_and_removed(self, database):
        write(database, ("a", kept(b"1")), ("b", kept(b"1")))
        write(database, ("b", REMOVED), ("c", REMOVED), ("a", kept(b"2")), ("a", kept(b"3")))
        stored = StoredState(database, "oncall")
        assert [stored.find(key) for key in "abc"] == [b"3", None, None]
        with database.read() as connection:
            assert connection.exec_driver_sql("SELECT count(*) FROM state").scalar_one() == 1

    def test_of_several_changes_of_a_key_the_last_counts(self, database):
        write(database, ("a", kept(b"1")), ("b", REMOVED), ("a", REMOVED), ("b", kept(b"2")))
        stored = StoredState(database, "oncall")
        assert [stored.find(key) for key in "ab"] == [None, b"2"]

    def test_keys_are_sorted_as_python_sorts_them(self, database):
        keys = ["a", "a/%", "a/_", "a/1", "a/B", "a/b", "a/ä", "a/\U0010ffff", "a/\U0001f600" * 40, "a0", "B", "一"]
        write(database, *((key, kept(b"1")) for key in keys))
        stored = StoredState(database, "oncall")
        assert stored.keys("", 100) == sorted(keys)
        assert stored.keys("a/", 100) == sorted(key for key in keys if key.startswith("a/"))
        assert stored.keys("a/", 2) == sorted(key for key in keys if key.startswith("a/"))[:2]
        assert stored.keys("c", 2) == []

    def test_many_and_large_values(self, database):
        changes = [(f"{number:03}", kept(bytes([number]) * 60_000)) for number in range(100)]
        write(database, *changes)
        stored = StoredState(database, "oncall")
        assert len(stored.keys("", 1000)) == 100
        assert stored.find("042") == b"*" * 60_000

    def test_the_name_of_an_extension_has_any_length(self, database):
        states = States(database, 30)
        name = "oncall" * 100
        outcome = ChangedOutcome("delivered", extension=name, changes={"a": kept(b"1")})
        with database.transaction() as connection:
            write_state(connection, [end(outcome)], {1})
        assert states.reader(name).find("a") == b"1"


class TestTime:
    def test_values_are_gone_when_their_time_is_over(self, database):
        write(database, ("a", kept(b"1", NOW)), ("b", kept(b"1")))
        stored = StoredState(database, "oncall")
        assert (stored.find("a"), stored.keys("", 10)) == (None, ["b"])

    def test_retention_removes_them(self, database):
        write(database, *((f"{number}", kept(b"1", NOW)) for number in range(7)), ("b", kept(b"1")))
        assert clean(database, 30, 1000, NOW).state == 7
        assert StoredState(database, "oncall").keys("", 10) == ["b"]

    def test_they_are_removed_in_batches(self, database):
        write(database, *((f"{number}", kept(b"1", NOW)) for number in range(7)))
        assert remove_expired(database, NOW, size=3) == 7
        assert remove_expired(database, NOW, size=3) == 0

    def test_those_that_a_worker_is_writing_are_left(self, database):
        if database.is_sqlite:
            pytest.skip("writers take turns")
        write(database, ("a", kept(b"1", NOW)), ("b", kept(b"1", NOW)))
        with database.transaction() as connection:
            write_changes(connection, [("oncall", "a", kept(b"2"))], NOW)
            assert remove_expired(database, NOW) == 1
        assert StoredState(database, "oncall").find("a") == b"2"


class TestRoom:
    def test_so_many_keys_and_no_more(self, database):
        write(database, ("a", kept(b"1")), ("b", kept(b"1")))
        stored = StoredState(database, "oncall", most=3)
        assert stored.has_room_for("c")
        assert not stored.has_room_for("d")
        assert stored.has_room_for("a")

    def test_there_is_room_again_once_keys_are_removed(self, database, monkeypatch):
        monkeypatch.setattr("extension_kit.deliveries.state._RECOUNT", 0)
        write(database, ("a", kept(b"1")), ("b", kept(b"1")))
        stored = StoredState(database, "oncall", most=2)
        assert not stored.has_room_for("c")
        write(database, ("b", REMOVED))
        assert stored.has_room_for("c")

    def test_async_functions_may_set_no_more_either(self, database):
        write(database, *((f"{number}", kept(b"1")) for number in range(20)))
        stored = StoredState(database, "oncall", most=10)

        async def fill():
            while stored.has_room_for("new"):
                await asyncio.sleep(0.01)

        asyncio.run(asyncio.wait_for(fill(), TIMEOUT))

    def test_rows_are_not_counted_for_each_key(self, database):
        stored = StoredState(database, "oncall", most=10)
        assert stored.has_room_for("a")
        write(database, *((f"{number}", kept(b"1")) for number in range(20)))
        assert stored.has_room_for("b")


class TestWriting:
    def test_only_what_was_delivered_while_its_claim_held(self, database):
        ends = [
            changed(1, a=b"1"),
            changed(2, a=b"2", b=b"2"),
            changed(3, c=b"3"),
            end(Outcome("failed", "not now"), 4),
            end(Outcome("delivered"), 5),
        ]
        with database.transaction() as connection:
            write_state(connection, ends, {1, 2, 4, 5})
        stored = StoredState(database, "oncall")
        assert [stored.find(key) for key in "abc"] == [b"2", b"2", None]

    def test_workers_that_write_the_same_keys_never_wait_in_a_circle(self, database):
        """They take the keys in one order, removed ones among them: who waits for one has none of those behind it."""
        if database.is_sqlite:
            pytest.skip("writers take turns")
        write(database, ("a", kept(b"1")), ("b", kept(b"1")))
        waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'INSERT INTO state %%'"
        other = threading.Thread(target=write, args=(database, ("b", REMOVED), ("a", kept(b"3"))))
        with database.transaction() as connection:
            write_changes(connection, [("oncall", "a", kept(b"2"))], NOW)
            other.start()
            wait_until(lambda: found_by(database, waiting))
            connection.exec_driver_sql("SELECT 1 FROM state WHERE key = 'b' FOR UPDATE NOWAIT")
        other.join(30)
        stored = StoredState(database, "oncall")
        assert [stored.find(key) for key in "ab"] == [b"3", None]

    def test_a_commit_waits_for_the_disk_where_others_build_on_it(self, url):
        with opened(url) as database:
            unflushed = Database(database.url.render_as_string(hide_password=False), flush=False)
            if database.is_sqlite:
                pytest.skip("a crash ends the worker, too")
            with unflushed.transaction() as connection:
                assert connection.exec_driver_sql("SHOW synchronous_commit").scalar_one() == "off"
                write_changes(connection, [("oncall", "a", kept(b"2"))], NOW)
                assert connection.exec_driver_sql("SHOW synchronous_commit").scalar_one() == "on"
            with unflushed.transaction() as connection:
                assert connection.exec_driver_sql("SHOW synchronous_commit").scalar_one() == "off"
            unflushed.dispose()


class TestUnwritten:
    def test_the_next_delivery_of_the_series_finds_them(self, database):
        write(database, ("a", kept(b"0")), ("b", kept(b"0")))
        unwritten = UnwrittenState()
        unwritten.add(changed(1, a=b"1", c=b"1"))
        stored = StoredState(database, "oncall")
        state = SeriesState(stored, unwritten, due(2))
        assert [state.find(key) for key in "abc"] == [b"1", b"0", b"1"]
        assert state.keys("", 10) == ["a", "b", "c"]
        for other in (due(2, series="t/2"), due(2, listener="other"), due(2, series=None)):
            assert SeriesState(stored, unwritten, other).find("a") == b"0"

    def test_they_are_forgotten_when_they_are_written(self, database):
        unwritten = UnwrittenState()
        first, second = changed(1, a=b"1", b=b"1"), changed(2, a=b"2")
        state = SeriesState(StoredState(database, "oncall"), unwritten, due(3))
        unwritten.add(first)
        unwritten.add(second)
        unwritten.remove([first])
        assert [state.find(key) for key in "ab"] == [b"2", None]
        unwritten.remove([second])
        assert state.find("a") is None
        assert not unwritten._by_series

    def test_deliveries_without_a_series_leave_none(self, database):
        unwritten = UnwrittenState()
        alone = changed(1, series=None, a=b"1")
        unwritten.add(alone)
        unwritten.remove([alone])
        assert not unwritten._by_series


class TestSums:
    @staticmethod
    def add(database, *additions, extension="oncall", now=NOW, expires_at=TOMORROW):
        rows = [(extension, key, Addition(number, expires_at)) for key, number in additions]
        with database.transaction() as connection:
            write_additions(connection, rows, now)

    def test_numbers_are_added_up_by_extension_and_key(self, database):
        self.add(database, ("b", 1), ("a", 2), ("b", 0.25))
        self.add(database, ("b", -2))
        self.add(database, ("b", 7), extension="other")
        stored = StoredState(database, "oncall")
        assert list(stored.sums("", 10).items()) == [("a", 2.0), ("b", -0.75)]
        assert stored.sums("", 1) == {"a": 2.0}
        assert StoredState(database, "other").sums("b", 10) == {"b": 7.0}

    def test_sums_and_values_are_apart_but_counted_together(self, database):
        self.add(database, ("a", 1))
        write(database, ("b", kept(b"1")))
        stored = StoredState(database, "oncall", most=2)
        assert stored.find("a") is None
        assert stored.sums("b", 10) == {}
        assert [stored.has_room_for(key) for key in "abc"] == [True, True, False]

    def test_a_sum_whose_time_is_over_begins_at_zero(self, database):
        self.add(database, ("a", 5), ("b", 5), now=NOW - timedelta(days=2), expires_at=NOW - timedelta(days=1))
        stored = StoredState(database, "oncall")
        assert stored.sums("", 10) == {}
        self.add(database, ("a", 1))
        assert stored.sums("", 10) == {"a": 1.0}
        assert remove_expired(database, NOW) == 1
        assert stored.sums("", 10) == {"a": 1.0}

    def test_transactions_in_other_orders_wait_for_each_other_in_no_circle(self, database):
        keys = [f"{number}" for number in range(20)]

        def add_all(keys):
            for _ in range(20):
                self.add(database, *((key, 1) for key in keys))

        with ThreadPoolExecutor(2) as pool:
            for done in [pool.submit(add_all, keys), pool.submit(add_all, keys[::-1])]:
                done.result(60)
        assert set(StoredState(database, "oncall").sums("", 100).values()) == {40.0}
