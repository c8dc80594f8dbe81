"""Which deliveries may be claimed, and what is set aside."""

import pytest

from extension_kit.deliveries.tables import BEHIND, CLAIMED, LATER, READY
from extension_kit.engine.body_room import BodyRoom
from extension_kit.engine.windows import Held, Windows
from tests.support.queues import in_

NOTHING = Held({}, (), {}, has_suspect=False, large_bodies={})


@pytest.fixture
def windows(stored):
    """Open windows in a transaction: ``with windows(locks=...) as made``."""

    def take(number, *, locks=(), refs=(), has_suspect=False, size=12, listener="oncall"):
        held = Held(dict.fromkeys(locks), refs, {}, has_suspect, {})
        with stored.database.transaction() as connection:
            made = Windows(stored.queue, connection, stored.shards, held, size, BodyRoom({}, bool))
            taken = [made.take(listener) for _ in range(number)]
        return [each and each.ref for each in taken], made

    return take


def test_the_first_of_each_lock_and_all_without_one_are_taken_in_order(stored, windows):
    one, two = stored.add("1", "2", series="t/1")
    alone = stored.add("3")
    other = stored.add("4", series="t/2")
    stored.set(two, stage=READY)
    taken, made = windows(4)
    assert taken == [one, *alone, *other, None]
    assert stored.stages(one, two) == [READY, BEHIND]
    assert not made.has_more
    assert not made.has_later


def test_what_is_behind_one_that_waits_for_its_time_is_set_aside(stored, windows):
    first, second = stored.add("1", "2", series="t/1")
    stored.set(first, stage=LATER, due_at=in_(60))
    stored.set(second, stage=READY)
    assert windows(1)[0] == [None]
    assert stored.stages(first, second) == [LATER, BEHIND]


def test_a_replayed_one_comes_before_what_is_behind_it(stored, windows):
    first, second, third = stored.add("1", "2", "3", series="t/1")
    stored.set(first, stage=BEHIND)  # replayed while the second was claimed
    stored.set(second, third, stage=READY)
    taken, _ = windows(1)
    assert stored.stages(first, second, third) == [READY, BEHIND, BEHIND]
    assert (taken if taken != [None] else windows(1)[0]) == [first]


def test_what_is_behind_a_lane_is_set_aside(stored, windows):
    first, second = stored.add("1", "2", series="t/1")
    stored.claim(first)
    stored.set(second, stage=READY)
    assert windows(1, locks=["oncall|t/1"], refs={first})[0] == [None]
    assert stored.stages(first, second) == [CLAIMED, BEHIND]


def test_what_is_behind_a_claim_of_nobody_stays_in_sight(stored, windows):
    """Whoever takes the claim over calls up the next of its lock; but it may be over already."""
    first, second = stored.add("1", "2", series="t/1")
    stored.claim(first)
    stored.set(second, stage=READY)
    assert windows(1)[0] == [None]
    assert stored.stages(first, second) == [CLAIMED, READY]


def test_suspects_are_taken_one_at_a_time(stored, windows):
    first, second, other = stored.add("1", "2", "3")
    stored.set(first, second, losses=2)
    taken, made = windows(3)
    assert taken == [first, other, None]
    assert made.has_later
    assert stored.stages(first, second, other) == [READY, LATER, READY]
    stored.set(second, stage=READY)
    assert windows(2, has_suspect=True)[0] == [other, None]
    assert stored.stages(first, second) == [LATER, LATER]


def test_many_that_cannot_be_claimed_are_passed_over(stored, windows):
    first, *behind = stored.add(*map(str, range(61)), series="t/1")
    stored.set(first, stage=LATER, due_at=in_(60))
    stored.set(*behind, stage=READY)
    (due,) = stored.add("due")
    taken, made = windows(1, size=4)
    assert (taken, made.has_more) == ([None], True)  # so many at a time
    while taken == [None] and made.has_more:
        taken, made = windows(1, size=4)
    assert taken == [due]


def test_more_than_was_looked_at_is_known(stored, windows):
    refs = stored.add(*map(str, range(10)))
    taken, made = windows(3, size=3)
    assert taken == refs[:3]
    assert made.has_more


def test_few_are_looked_at_at_once(stored):
    (one,) = stored.add("1")
    (other,) = stored.add("3", listener="another")
    with stored.database.transaction() as connection:
        made = Windows(stored.queue, connection, stored.shards, NOTHING, 12, BodyRoom({}, bool))
        assert made.look_at_all() == ["another", "oncall"]
        assert [made.take("another").ref, made.take("oncall").ref, made.take("oncall")] == [other, one, None]
        few = Windows(stored.queue, connection, stored.shards, NOTHING, 2, BodyRoom({}, bool))
        assert few.look_at_all() is None
