"""The state as a function sees it: what it may keep, and until when."""

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest

from extension_kit import Event, Extension
from extension_kit.events.event import set_attempt
from extension_kit.events.state import MAX_CHANGES, EventAttempt, State
from extension_kit.events.state_values import MAX_KEY, MAX_VALUE, Change
from extension_kit.testing.state import InMemoryState

KEEP = timedelta(days=30)


def later(seconds):
    return datetime.now(UTC) + timedelta(seconds=seconds)


@pytest.fixture
def stored():
    kept = InMemoryState()
    kept.write({key: Change(b"1", later(60)) for key in ("a/1", "a/2", "b/1")})
    return kept


@pytest.fixture
def state(stored):
    return State(stored, KEEP, time.monotonic() + 60)


class TestReading:
    def test_what_is_kept(self, state):
        assert state.get("a/1") == 1
        assert state.get("c") is None
        assert state.get("c", {"x": 1}) == {"x": 1}

    def test_changes_of_the_attempt_are_seen(self, state, stored):
        state.set("a/1", {"n": [1, None, "ü"]})
        state.set("a/0", 0)
        state.set("c", None)
        state.delete("a/2")
        assert (state.get("a/1"), state.get("a/2"), state.get("c", "other")) == ({"n": [1, None, "ü"]}, None, None)
        assert state.keys() == ["a/0", "a/1", "b/1", "c"]
        assert state.keys("a/") == ["a/0", "a/1"]
        assert state.keys(limit=2) == ["a/0", "a/1"]
        assert stored.values() == {"a/1": 1, "a/2": 1, "b/1": 1}  # not written

    def test_a_removed_key_takes_no_place_among_those_listed(self, state):
        state.delete("a/1")
        assert state.keys("a/", limit=1) == ["a/2"]

    def test_a_value_that_was_read_is_not_that_which_is_kept(self, state):
        state.set("list", [1])
        state.get("list").append(2)
        assert state.get("list") == [1]

    def test_an_event_loop_is_not_held_up(self, state):
        async def look():
            with pytest.raises(RuntimeError, match=r"await state\.aget"):
                state.get("a/1")
            with pytest.raises(RuntimeError, match="to_thread"):
                state.keys()
            state.set("a/2", 2)
            return await state.aget("a/1"), await state.aget("a/2"), await state.aget("c", 5)

        assert asyncio.run(look()) == (1, 2, 5)


class TestChanging:
    @pytest.mark.parametrize(
        ("key", "error"),
        [
            ("", ValueError),
            ("k" * (MAX_KEY + 1), ValueError),
            ("\x00", ValueError),
            ("\ud800", ValueError),
            (1, TypeError),
        ],
    )
    def test_a_key_that_cannot_be_kept(self, state, key, error):
        for use in (state.get, state.delete, lambda key: state.set(key, 1)):
            with pytest.raises(error):
                use(key)
        assert state.end() == {}

    @pytest.mark.parametrize(
        ("value", "error"),
        [
            (object(), TypeError),
            ({1: 2}, TypeError),
            (2**64, TypeError),
            (datetime(2026, 1, 1, tzinfo=UTC), TypeError),
            ("x" * (MAX_VALUE - 1), ValueError),
        ],
    )
    def test_a_value_that_cannot_be_kept(self, state, value, error):
        state.set("a/1", "before")
        with pytest.raises(error, match="'a/1'"):
            state.set("a/1", value)
        assert state.get("a/1") == "before"

    def test_the_longest(self, state):
        state.set("k" * MAX_KEY, "x" * (MAX_VALUE - 2))
        assert len(state.get("k" * MAX_KEY)) == MAX_VALUE - 2

    @pytest.mark.parametrize(("ttl", "error"), [(0, ValueError), (-1, ValueError), (float("nan"), ValueError)])
    def test_a_time_that_is_none(self, state, ttl, error):
        with pytest.raises(error, match="positive"):
            state.set("k", 1, ttl=ttl)

    @pytest.mark.parametrize("ttl", ["1", True])
    def test_a_time_that_is_no_number(self, state, ttl):
        with pytest.raises(TypeError, match="number of seconds"):
            state.set("k", 1, ttl=ttl)

    @pytest.mark.parametrize(
        ("ttl", "expected"), [(60, timedelta(seconds=60)), (None, KEEP), (1e12, KEEP), (float("inf"), KEEP)]
    )
    def test_the_time_for_which_it_is_kept(self, state, ttl, expected):
        before = datetime.now(UTC)
        state.set("k", 1, ttl=ttl)
        assert before <= state.end()["k"].expires_at - expected <= datetime.now(UTC)

    def test_so_many_keys_and_no_more(self, state):
        for number in range(MAX_CHANGES):
            state.set(f"{number}", number)
        state.set("0", "again")
        for change in (lambda: state.set("more", 1), lambda: state.delete("a/1")):
            with pytest.raises(ValueError, match="a change too many"):
                change()
        assert len(state.end()) == MAX_CHANGES

    def test_an_extension_has_so_many_keys(self, state, stored, monkeypatch):
        monkeypatch.setattr("extension_kit.testing.state.MAX_KEYS", 3)
        with pytest.raises(ValueError, match="at most 100000"):
            state.set("new", 1)
        state.set("a/1", 2)
        assert list(state.end()) == ["a/1"]


class TestAfterTheAttempt:
    def test_nothing_is_changed_once_it_has_ended(self, state):
        state.set("k", 1)
        changes = dict(state.end())
        for change in (lambda: state.set("k", 2), lambda: state.delete("k")):
            with pytest.raises(RuntimeError, match="the attempt has ended"):
                change()
        assert state.end() == changes

    def test_nothing_is_changed_after_the_timeout(self, stored):
        state = State(stored, KEEP, time.monotonic())
        with pytest.raises(RuntimeError, match="the attempt has ended"):
            state.set("k", 1)
        assert state.get("a/1") == 1

    def test_a_state_that_is_first_used_then_is_closed(self, stored):
        attempt = EventAttempt(1, lambda: State(stored, KEEP, time.monotonic() + 60))
        assert attempt.end() == {}
        with pytest.raises(RuntimeError, match="the attempt has ended"):
            attempt.state.set("k", 1)


class TestEvents:
    def test_an_event_has_its_attempt(self, stored):
        event = Event.from_body({})
        assert event.attempt == 1
        with pytest.raises(RuntimeError, match="immediate=True"):
            _ = event.state
        set_attempt(event, EventAttempt(3, lambda: State(stored, KEEP, time.monotonic() + 60)))
        assert event.attempt == 3
        assert event.state is event.state
        assert event.state.get("a/1") == 1
        with pytest.raises(AttributeError):
            event.state = None


class TestOutsideDeliveries:
    def test_it_is_read_once_the_extension_is_served(self, stored):
        extension = Extension("oncall")
        with pytest.raises(RuntimeError, match="once the extension is served"):
            extension.state.get("a/1")
        extension.state.bind(stored)
        assert extension.state.get("a/1") == 1
        assert extension.state.keys("b") == ["b/1"]
        assert not hasattr(extension.state, "set")

    @pytest.mark.parametrize("limit", [0, 100_001])
    def test_so_many_keys_at_once(self, state, limit):
        with pytest.raises(ValueError, match="limit"):
            state.keys(limit=limit)

    @pytest.mark.parametrize(("prefix", "limit"), [(1, 1), ("", "1"), ("", True)])
    def test_a_selection_of_another_type(self, state, prefix, limit):
        with pytest.raises(TypeError):
            state.keys(prefix, limit)


class TestSums:
    def test_additions_of_an_attempt_are_added_up_and_not_seen(self, state, stored):
        state.add("runs")
        state.add("runs", 2)
        state.add("seconds", -0.5)
        assert {key: addition.number for key, addition in state.additions.items()} == {"runs": 3.0, "seconds": -0.5}
        assert (state.get("runs"), state.keys("runs"), stored.sums("", 10)) == (None, [], {})

    def test_what_is_added_is_read_outside_deliveries(self, state, stored):
        extension = Extension("extension-counts")
        with pytest.raises(RuntimeError, match="once the extension is served"):
            extension.state.sums()
        extension.state.bind(stored)
        state.add("a/1")
        state.add("b", 2.5)
        stored.add(state.additions)
        assert extension.state.sums() == {"a/1": 1.0, "b": 2.5}
        assert extension.state.sums("a/", limit=5) == {"a/1": 1.0}

    @pytest.mark.parametrize("number", [True, "1", None])
    def test_only_numbers_are_added(self, state, number):
        with pytest.raises(TypeError, match="a number is added"):
            state.add("runs", number)

    @pytest.mark.parametrize("number", [float("nan"), float("inf"), -1e101, 10**400])
    def test_only_numbers_that_a_sum_can_hold_are_added(self, state, number):
        with pytest.raises(ValueError, match=r"from -1e\+100 to 1e\+100"):
            state.add("runs", number)

    def test_there_are_bounds(self, state):
        for number in range(MAX_CHANGES):
            state.add(f"{number}")
        state.add("0")
        with pytest.raises(ValueError, match="a sum too many"):
            state.add("one more")

    def test_nothing_is_added_after_the_attempt(self, state):
        state.end()
        with pytest.raises(RuntimeError, match="has ended"):
            state.add("runs")
