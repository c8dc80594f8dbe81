"""Which deliveries a worker takes, and into which lanes."""

from collections import Counter
from datetime import UTC, datetime

import pytest

from extension_kit.deliveries.adoption import adopt
from extension_kit.deliveries.handler import Handler
from extension_kit.deliveries.pauses import Pauses
from extension_kit.deliveries.tables import BEHIND, CLAIMED, LATER, READY
from extension_kit.engine.claiming import Claiming
from extension_kit.engine.pools import Pools
from extension_kit.engine.shares import SLOW, Shares
from extension_kit.engine.windows import Held
from extension_kit.errors import StoreUnavailable
from tests.support.queues import in_
from tests.support.workers import QUICKLY, Attempts, always


class Worker:
    """Claims for a worker that makes nothing of it."""

    def __init__(self, stored, threads=4, find=None, tenants=None, quick=(), slow=(), of_async=None, async_names=()):
        self.stored = stored
        self.shares = Shares(threads)
        self.pools = Pools(self.shares, of_async, async_names)
        for seconds, listeners in ((0.01, quick), (SLOW, slow)):
            for listener in listeners:
                self.shares.learn(listener, seconds, for_good=True)
        of = (tenants or {}).get
        self.claiming = Claiming(
            stored.queue,
            self.pools,
            find or always(Attempts()),
            lambda names: {name: of(name, "") for name in names},
        )
        self.lanes, self.refs, self.waiting = {}, set(), Counter()
        self.large_bodies, self.async_bodies = Counter(), Counter()
        self.has_suspect = False

    def claim(self, **options):
        """Claim, begin the new lanes, and return what was claimed."""
        held = Held(
            self.lanes, self.refs, self.waiting, self.has_suspect, self.large_bodies, async_bodies=self.async_bodies
        )
        with self.stored.database.transaction() as connection:
            claimed = self.claiming.claim(connection, self.stored.shards, held, datetime.now(UTC), **options)
        for lane in (*claimed.lanes, *claimed.following):
            if lane.lock is not None:
                self.lanes[lane.lock] = lane
            self.refs |= set(refs_of(lane))
        for lane in claimed.lanes:
            self.pools.begin(lane)
        for lane in claimed.following:
            self.waiting[lane.listener] += 1
        return claimed


def refs_of(lane):
    return [claim.due.ref for claim in lane.claims()]


def listeners(lanes):
    return [lane.listener for lane in lanes]


def test_a_new_listener_gets_a_thread_and_a_quick_one_its_share(stored):
    new, quick = (stored.add(*(f"{name}{number}" for number in range(9)), listener=name) for name in ("new", "quick"))
    claimed = Worker(stored, threads=6, quick=["quick"]).claim()
    assert Counter(listeners(claimed.lanes)) == {"new": 1, "quick": 5}  # nobody else has deliveries: it borrows
    assert Counter(listeners(claimed.following)) == {"quick": 4}
    assert claimed.has_more
    assert stored.stages(new[0], new[1], *quick) == [CLAIMED, READY, *[CLAIMED] * 9]


def test_tenants_take_turns(stored):
    for name in ("a1", "a2", "a3", "b"):
        stored.add(*(f"{name}{number}" for number in range(3)), listener=name)
    worker = Worker(
        stored, threads=3, tenants={"a1": "a", "a2": "a", "a3": "a", "b": "b"}, quick=["a1", "a2", "a3", "b"]
    )
    assert sorted(listeners(worker.claim().lanes)) == ["a1", "a2", "b"]


def test_tenants_that_cannot_be_read_do_not_stop_deliveries(stored):
    stored.add("1")

    def fail(names):
        raise StoreUnavailable("gone")

    worker = Worker(stored)
    worker.claiming._tenants_of = fail
    assert len(worker.claim().lanes) == 1


def test_the_deliveries_of_a_lock_are_one_lane_if_the_listener_is_quick(stored):
    refs = stored.add(*"12345", series="t/1")
    others = stored.add(*"678", series="t/2", listener="slow")
    claimed = Worker(stored, quick=["oncall"], slow=["slow"]).claim()
    assert sorted(map(refs_of, claimed.lanes)) == [refs, others[:1]]
    assert stored.stages(*others) == [CLAIMED, BEHIND, BEHIND]


def test_a_lane_ends_before_what_is_not_due_or_suspected(stored):
    late = stored.add(*"1234", series="t/1")
    suspected = stored.add(*"5678", series="t/2")
    stored.set(late[2], stage=LATER, due_at=in_(60))
    stored.set(suspected[1], losses=2)
    claimed = Worker(stored, quick=["oncall"]).claim()
    assert sorted(map(refs_of, claimed.lanes)) == [late[:2], suspected[:1]]
    assert stored.stages(*late, *suspected) == [CLAIMED, CLAIMED, LATER, BEHIND, CLAIMED, BEHIND, BEHIND, BEHIND]


def test_what_is_adopted_between_the_look_and_the_claim_passes_nothing(stored, monkeypatch):
    if stored.database.is_sqlite:
        pytest.skip("SQLite has one writing transaction at a time")
    old, new = "oncall.old@/x", "oncall.new@/x"
    (first,) = stored.add("1", listener=new, series="t/1")
    (second,) = stored.add("2", listener=old, series="t/1")
    claim = stored.queue.claim

    def overtaken(*arguments):
        with stored.database.transaction() as connection:
            adopt(connection, old, new)
        return claim(*arguments)

    worker = Worker(stored, quick=[old, new])
    with monkeypatch.context() as patch:
        patch.setattr(stored.queue, "claim", overtaken)
        (lane,) = worker.claim().lanes
    assert refs_of(lane) == [first]
    assert stored.stages(first, second) == [CLAIMED, READY]
    ((grown, jobs),) = worker.claim().more
    assert (grown, [job.claim.due.ref for job in jobs]) == (lane, [second])


MEGABYTE = 1024**2


@pytest.mark.parametrize(("is_quick", "number"), [(True, 3), (False, 2)])
def test_few_large_bodies_are_claimed_at_a_time(stored, is_quick, number):
    """Decoded, they would take the memory of the machine: four megabytes of slow listeners and eight of all."""
    listeners = [f"slow-{number}" for number in range(6)] if not is_quick else ["quick"]
    for listener in listeners:
        stored.add(*(f"{listener}-{each}" for each in range(6)), listener=listener, body=b" " * 3 * MEGABYTE)
    small = stored.add(*(f"small-{each}" for each in range(3)), listener="small")
    worker = Worker(stored, threads=12, quick=["quick", "small"])
    claimed = worker.claim()
    assert Counter(each == "small" for each in (lane.listener for lane in claimed.lanes))[False] == number
    assert {ref for lane in claimed.lanes for ref in refs_of(lane)} >= set(small)
    assert claimed.has_more
    assert not claimed.goes_on


def test_async_listeners_take_no_thread_of_plain_ones_and_the_other_way_round(stored):
    names = ("plain", "waits", "waits-too")
    for listener in names:
        stored.add(*(f"{listener}-{each}" for each in range(9)), listener=listener)
    worker = Worker(stored, threads=2, slow=["plain"], of_async=Shares(8), async_names=names[1:])
    for name in names[1:]:
        worker.pools.learn(name, SLOW, for_good=True)
    claimed = worker.claim()
    assert Counter(listeners(claimed.lanes)) == {"plain": 2, "waits": 2, "waits-too": 1}
    assert claimed.has_more
    assert not claimed.following


def test_a_single_async_listener_has_all_attempts_and_many_are_claimed_in_several_transactions(stored, monkeypatch):
    monkeypatch.setattr("extension_kit.engine.claiming._ASYNC_LANES", 3)
    stored.add(*map(str, range(9)), listener="waits")
    worker = Worker(stored, of_async=Shares(5), async_names=["waits"])
    first = worker.claim()
    assert (len(first.lanes), first.goes_on, first.has_more) == (3, True, True)
    second = worker.claim()
    assert (len(second.lanes), second.goes_on, second.has_more) == (2, False, True)
    assert not worker.claim().lanes


def test_all_bodies_of_async_listeners_take_room(stored):
    stored.add("1", listener="waits")
    plain = stored.add("2")
    worker = Worker(stored, of_async=Shares(5), async_names=["waits"])
    worker.async_bodies["waits"] = 8 * MEGABYTE
    claimed = worker.claim()
    assert [refs_of(lane) for lane in claimed.lanes] == [plain]
    assert (claimed.has_more, claimed.goes_on) == (True, False)
    worker.async_bodies.clear()
    assert listeners(worker.claim().lanes) == ["waits"]


def test_large_bodies_wait_until_others_have_ended(stored):
    refs = stored.add("1", "2", body=b" " * 3 * MEGABYTE)
    worker = Worker(stored, quick=["oncall"])
    worker.large_bodies["other"] = 9 * MEGABYTE
    claimed = worker.claim()
    assert (*claimed.lanes, claimed.has_more, claimed.goes_on) == (True, False)
    assert stored.stages(*refs) == [READY, READY]
    worker.large_bodies.clear()
    assert len(worker.claim().lanes) == 2


def test_one_of_any_size_has_room_when_there_is_no_other(stored):
    stored.add("1", body=b" " * 20 * MEGABYTE)
    assert len(Worker(stored).claim().lanes) == 1


def test_slow_listeners_with_large_bodies_hold_up_no_quick_one(stored):
    stored.add("1", listener="quick", body=b" " * 3 * MEGABYTE)
    worker = Worker(stored, quick=["quick"], slow=["slow"])
    worker.large_bodies["slow"] = 7 * MEGABYTE
    assert len(worker.claim().lanes) == 1


def test_large_bodies_in_a_lane_take_room_too(stored):
    refs = stored.add(*"12345678", series="t/1", body=b" " * 200_000)
    worker = Worker(stored, quick=["oncall"])
    worker.large_bodies["oncall"] = 8 * MEGABYTE - 500_000
    (lane,) = worker.claim().lanes
    assert refs_of(lane) == refs[:3]


def test_what_follows_in_a_lane_has_a_limit_of_bytes(stored, monkeypatch):
    monkeypatch.setattr("extension_kit.engine.claiming._MOST_BYTES", 2000)
    refs = stored.add(*"12345", series="t/1", body=b" " * 900)
    (claimed,) = Worker(stored, quick=["oncall"]).claim().lanes
    assert refs_of(claimed) == refs[:3]  # the first one comes in any case


def test_a_lane_grows_when_half_of_it_is_made(stored, monkeypatch):
    monkeypatch.setattr("extension_kit.engine.claiming._LONGEST", 4)
    refs = stored.add(*map(str, range(9)), series="t/1")
    worker = Worker(stored, quick=["oncall"])
    (lane,) = worker.claim().lanes
    assert refs_of(lane) == refs[:4]
    lane.jobs.popleft()
    assert not worker.claim().more
    lane.jobs.popleft()
    ((grown, jobs),) = worker.claim().more
    assert grown is lane
    assert [job.claim.due.ref for job in jobs] == refs[4:6]
    lane.made = 1000  # others of the listener are to have a turn
    stored.call("release", [job.claim for job in jobs], BEHIND)
    assert not worker.claim().more


def test_a_suspect_is_claimed_alone_of_its_kind(stored):
    first, second = stored.add("1", "2", series="t/1")
    other, innocent = stored.add("3", "4")
    stored.set(first, other, losses=2)
    worker = Worker(stored, quick=["oncall"])
    claimed = worker.claim()
    assert sorted(refs_of(lane) for lane in (*claimed.lanes, *claimed.following)) == [[first], [innocent]]
    assert claimed.has_later
    assert stored.stages(second, other) == [BEHIND, "later"]


@pytest.mark.parametrize("are_few", [False, True])
def test_paused_listeners_have_no_turn(stored, are_few):
    paused = stored.add(*"1234", listener="paused", series="t/1") + stored.add(*"56", listener="paused")
    others = stored.add("7", "8", listener="other")
    before = stored.stages(*paused)
    worker = Worker(stored, quick=["paused", "other"])
    claimed = worker.claim(pauses=Pauses(frozenset({"paused"})), are_few=are_few)
    assert sorted(map(refs_of, claimed.lanes)) == [[ref] for ref in others]
    assert not claimed.has_more
    assert not claimed.goes_on
    assert stored.stages(*paused) == before
    assert paused[:4] in map(refs_of, worker.claim().lanes)


def test_paused_listeners_take_no_places_of_others_among_those_that_are_looked_at(stored, monkeypatch):
    monkeypatch.setattr("extension_kit.engine.claiming._LISTENERS", 3)
    paused = [f"a{number}" for number in range(10)]
    for name in [*paused, "b"]:
        stored.add(name, listener=name)
    claimed = Worker(stored).claim(pauses=Pauses(frozenset(paused)))
    assert listeners(claimed.lanes) == ["b"]
    assert not claimed.has_more


def test_schedules_of_those_that_were_resumed_are_reckoned_from_then_on(stored):
    before, resumed, after = in_(-300), in_(-200), in_(-100)
    listeners = {"a": before, "b": after, "c": None, "other": before}
    refs = [stored.add(each, listener=each, first_attempt_at=first)[0] for each, first in listeners.items()]
    claimed = Worker(stored, threads=8, quick=listeners).claim(pauses=Pauses(resumed=dict.fromkeys("abc", resumed)))
    found = {claim.due.ref: claim.first_attempt_at for lane in claimed.lanes for claim in lane.claims()}
    assert [found[ref] for ref in refs] == [resumed, after, None, before]


def test_few_deliveries_are_claimed_as_many_are(stored):
    refs = stored.add("1", "2")
    others = stored.add("3", "4", listener="other", series="t/1")
    claimed = Worker(stored, quick=["oncall", "other"]).claim(are_few=True)
    assert sorted(map(refs_of, claimed.lanes)) == [refs[:1], refs[1:], others]
    assert not claimed.has_more


def test_listeners_beyond_the_first_get_their_turn(stored, monkeypatch):
    monkeypatch.setattr("extension_kit.engine.claiming._LISTENERS", 3)
    names = [f"l{number}" for number in range(8)]
    for name in names:
        stored.add(f"{name}a", f"{name}b", listener=name)
    worker = Worker(stored, threads=64, quick=names)
    seen = set()
    for _ in range(4):
        seen |= set(listeners(worker.claim().lanes))
    assert seen == set(names)
    assert not worker.claim().has_more


def test_listeners_behind_those_in_the_shards_of_others_get_their_turn(stored, monkeypatch):
    if stored.database.is_sqlite:
        pytest.skip("SQLite has one shard")
    monkeypatch.setattr("extension_kit.engine.claiming._LISTENERS", 3)
    for number in range(7):
        stored.add(str(number), listener=f"l{number}", shard=5)
    stored.add("mine", listener="m", shard=6)
    stored.shards = [6]
    worker = Worker(stored)
    claimed = worker.claim()
    looks = 1
    while not claimed.lanes:
        assert claimed.goes_on  # at once
        assert looks < 4
        claimed = worker.claim()
        looks += 1
    assert listeners(claimed.lanes) == ["m"]


def test_what_cannot_be_claimed_has_the_worker_go_on_unless_it_waits_for_threads(stored):
    first, *behind = stored.add(*map(str, range(131)), series="t/1")
    stored.set(first, stage=LATER, due_at=in_(60))
    stored.set(*behind, stage=READY)
    worker = Worker(stored, threads=2)  # it looks at six at a time, or at four of a shard, ten times
    looks = 1
    while worker.claim().goes_on:
        assert READY in stored.stages(*behind)
        looks += 1
    assert looks >= 3
    assert READY not in stored.stages(*behind)
    stored.add("x", "y", "z", listener="slow")
    assert worker.claim().lanes
    assert worker.claim().has_more
    assert not worker.claim().goes_on


def test_a_handler_that_cannot_be_found_fails_the_deliveries_of_its_listener_only(stored, caplog):
    found = Handler(Attempts(), QUICKLY, 1.0)

    def find(listener, connection):
        if listener == "broken":
            raise ValueError("a mistake")
        return found if listener == "oncall" else None

    for listener in ("oncall", "broken", "gone"):
        stored.add(listener, listener=listener)
    claimed = Worker(stored, threads=8, find=find).claim()
    handlers = {lane.listener: lane.jobs[0].handler for lane in claimed.lanes}
    assert (handlers["oncall"], handlers["gone"]) == (found, None)
    assert handlers["broken"].make(None).error == "ValueError: a mistake"
    assert "Cannot find the handler of broken" in caplog.text


def test_what_is_claimed_behind_one_that_is_not_is_given_up(stored, monkeypatch):
    refs = stored.add(*"1234", series="t/1")
    claim = stored.queue.claim

    def without_second(connection, wanted, now):
        return claim(connection, [ref for ref in wanted if ref != refs[1]], now)

    monkeypatch.setattr(stored.queue, "claim", without_second)  # another transaction has locked it
    (lane,) = Worker(stored, quick=["oncall"]).claim().lanes
    assert refs_of(lane) == refs[:1]
    assert stored.stages(*refs) == [CLAIMED, BEHIND, READY, READY]
