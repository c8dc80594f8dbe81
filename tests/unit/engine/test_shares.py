"""Who may begin an attempt."""

from collections import Counter
from typing import NamedTuple

import pytest

from extension_kit.engine.shares import SLOW, Shares, most


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


class Run(NamedTuple):
    """An attempt in progress."""

    listener: str
    since: float


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def shares(clock):
    """The shares of a worker: ``shares(16, quick="a", slow="bc")``."""

    def make(threads, quick="", slow="", **options):
        made = Shares(threads, clock=clock, **options)
        for seconds, listeners in ((0.0, quick), (SLOW, slow)):
            for listener in listeners:
                made.learn(listener, seconds, for_good=True)
        return made

    return make


def run(shares, listener):
    """Begin an attempt for a listener."""
    begun = Run(listener, shares._clock())
    shares.begin(begun)
    return begun


def begin(shares, listeners):
    """Begin attempts for listeners, as long as they may, in turn; return how many each has got."""
    got = Counter()
    while ready := [name for name in listeners if shares.look().may_begin(name)]:
        name = min(ready, key=lambda name: got[name])
        run(shares, name)
        got[name] += 1
    return got


@pytest.mark.parametrize(
    ("threads", "known", "listeners", "expected"),
    [
        (16, {"quick": "a"}, "a", {"a": 8}),
        (9, {"quick": "ab"}, "ab", {"a": 3, "b": 3}),
        (1, {"quick": "ab"}, "ab", {"a": 1}),
        (16, {"slow": "a"}, "a", {"a": 7}),
        (16, {"slow": "abcdefghi"}, "abcdefghi", dict.fromkeys("abcdefg", 1)),
        (16, {"slow": "abcdefg"}, "abcdefgz", dict.fromkeys("abcdefgz", 1)),  # one of half is left to the new
        (16, {}, "abcdefghi", dict.fromkeys("abcdefgh", 1)),
        (16, {"slow": "abc", "quick": "z"}, "z", {"z": 8}),
        (1, {}, "ab", {"a": 1}),
        (2, {}, "ab", {"a": 1, "b": 1}),
    ],
)
def test_how_threads_are_shared(shares, threads, known, listeners, expected):
    assert begin(shares(threads, **known), listeners) == expected


@pytest.mark.parametrize(("known", "others"), [({"quick": "az"}, 4), ({"slow": "a", "quick": "z"}, 4), ({}, 1)])
def test_one_that_is_alone_borrows_all_and_others_find_room_all_the_same(shares, known, others):
    made = shares(8, **known)
    while made.look().may_begin("a") or made.look().may_borrow("a"):
        run(made, "a")
    assert made.busy("a") == 8
    got = begin(made, "z")
    assert 1 <= got["z"] <= others
    assert made.busy("a") + made.busy("z") <= most(8)


def test_quick_listeners_use_no_more_than_all_threads(shares):
    made = shares(4, quick="abcdefgh")
    assert begin(made, "abcdef") == dict.fromkeys("abcd", 1)
    assert not made.look().has_room


def test_attempts_that_become_slow_on_more_than_half_are_made_up_for(shares, clock):
    made = shares(4, quick="abcdefgh")
    begin(made, "abcd")
    clock.now += SLOW
    assert begin(made, "efgh") == dict.fromkeys("ef", 1)


def test_who_is_slow_does_not_borrow_beside_others(shares):
    made = shares(8, slow="ab")
    run(made, "a")
    run(made, "b")
    assert not made.look().may_borrow("a")


def test_what_never_returns_counts_and_borrows_nothing(shares):
    made = shares(8, quick="a", abandoned=lambda: Counter(a=2))
    assert not made.look().may_borrow("a")
    assert begin(made, "a") == {"a": 1}


def test_an_attempt_that_goes_on_for_long_makes_its_listener_slow_at_once(shares, clock):
    made = shares(8, quick="a")
    run(made, "a")
    assert made.look().becomes_slow == SLOW
    clock.now += SLOW
    assert made.look().becomes_slow is None
    assert begin(made, "a") == {"a": 2}


@pytest.mark.parametrize(("seconds", "for_good", "expected"), [(0, True, 4), (0, False, 3), (SLOW, True, 3)])
def test_who_was_slow_is_quick_again_after_a_delivery(shares, seconds, for_good, expected):
    made = shares(8, slow="a")
    made.learn("a", seconds, for_good=for_good)
    assert made.is_quick("a") is (expected == 4)
    assert begin(made, "a") == {"a": expected}


def test_what_has_ended_uses_no_thread(shares):
    made = shares(8, quick="a")
    first, second = run(made, "a"), run(made, "a")
    made.end(first)
    made.end(first)  # a lane is ended twice if it is taken back while it closes
    assert made.busy("a") == 1
    made.end(second)
    assert made.busy("a") == 0
    assert made.look().has_room


def test_how_many_attempts_fit_into_a_time(shares):
    made = shares(8)
    made.learn("quick", 0.01, for_good=True)
    made.learn("slower", 0.4, for_good=True)
    made.learn("instant", 0.0, for_good=True)
    assert [made.attempts_within(0.5, each) for each in ("quick", "slower", "new")] == [50, 1, 1]
    assert made.attempts_within(0.5, "instant") > 1000


def test_the_slow_of_a_tenant_leave_as_much_of_their_half_as_they_use(shares):
    made = shares(16)
    made.introduce(dict.fromkeys("abcdefgh", "bad") | {"y": "good", "z": ""})
    assert begin(made, "abcdefgh").total() == 4
    assert begin(made, "y") == {"y": 1}
    assert begin(made, "z") == {"z": 1}


def test_tenants_take_turns_and_then_their_listeners(shares):
    made = shares(8)
    made.introduce({"a1": "a", "a2": "a", "a3": "a", "b1": "b", "c": ""})
    order = []
    for _ in range(8):
        order.append(next(made.in_turn(["a1", "a2", "a3", "b1", "c"])))
        run(made, order[-1])
    assert order == ["a1", "b1", "c", "a2", "b1", "c", "a3", "b1"]
