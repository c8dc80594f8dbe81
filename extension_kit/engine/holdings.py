"""Holdings: the lanes and claims of a worker, and the ends that it has not written yet; used by one thread."""

from collections import Counter
from collections.abc import Callable, Collection, Sequence

from extension_kit.deliveries.attempt import SUSPECT
from extension_kit.deliveries.claims import Claim
from extension_kit.deliveries.tables import BEHIND, READY, WAITING
from extension_kit.engine.body_room import SMALL
from extension_kit.engine.lane import Lane, Note
from extension_kit.engine.lanes import Lanes
from extension_kit.engine.pools import Pools
from extension_kit.engine.unwritten import Unwritten
from extension_kit.engine.windows import Held


class Holdings:
    """The lanes that have not closed, and the claims that have not ended.

    Args:
        pools: told of the threads in use, and of attempts on the event loop.

    Attributes:
        lanes: the lanes.
        claims: the claims, by the number of the delivery.
        unwritten: the ends that the database does not know yet.
    """

    def __init__(self, pools: Pools) -> None:
        self._pools = pools
        self._by_lock: dict[str, Lane] = {}
        self.lanes: set[Lane] = set()
        self.claims: dict[int, Claim] = {}
        self.unwritten = Unwritten()

    def __bool__(self) -> bool:
        return bool(self.lanes or self.unwritten)

    @property
    def has_suspect(self) -> bool:
        """True if one of the deliveries may have killed a process."""
        return any(claim.losses >= SUSPECT for claim in self.claims.values())

    def held(self) -> Held:
        """Return the deliveries that are not to be claimed."""
        waiting = Counter(lane.listener for lane in self.lanes if not lane.has_begun)
        large: Counter[str] = Counter()
        for claim in self.claims.values():
            if (size := len(claim.due.body)) > SMALL and not self._pools.is_async(claim.due.listener):
                large[claim.due.listener] += size
        bodies: Counter[str] = Counter()
        if self._pools.of_async is not None:
            for claim in self.claims.values():
                if self._pools.is_async(claim.due.listener):
                    bodies[claim.due.listener] += len(claim.due.body)
        return Held(self._by_lock, self.claims.keys(), waiting, self.has_suspect, large, bodies)

    def shards(self) -> set[int]:
        """Return the shards that another worker must not take yet."""
        return {claim.shard for claim in self.all_claims().values()}

    def all_claims(self) -> dict[int, Claim]:
        """Return the claims with those that the database does not know to have ended, by number."""
        return {claim.due.ref: claim for claim in (*self.claims.values(), *self.unwritten.claims())}

    def add(self, lane: Lane) -> None:
        """Add a lane with its claims."""
        self.lanes.add(lane)
        self.add_claims(lane.claims())
        if lane.lock is not None:
            self._by_lock[lane.lock] = lane

    def add_claims(self, claims: Sequence[Claim]) -> None:
        """Add claims to a lane that is known."""
        self.claims.update((claim.due.ref, claim) for claim in claims)

    def begin(self, lane: Lane) -> None:
        """Note that a lane uses a thread."""
        lane.has_begun = True
        self._pools.begin(lane)

    def take_in(self, note: Note) -> None:
        """Bring lanes and claims up to date with a note."""
        lane = note.lane
        if note.has_begun:
            self.begin(lane)
        if note.end is not None:
            end = note.end
            self.unwritten.ends.append(end)
            self.claims.pop(end.claim.due.ref, None)
            if end.seconds is not None:
                self._pools.learn(lane.listener, end.seconds, for_good=end.status != WAITING)
        self.give_up(note.given_up, BEHIND)
        if note.has_closed:
            self.close(lane)

    def give_up(self, claims: Sequence[Claim], stage: str) -> None:
        """Give claims up; ``stage`` is that of their deliveries from then on."""
        self.unwritten.release(claims, stage)
        self.forget([claim.due.ref for claim in claims])

    def take_back(self, lanes: Lanes, is_wanted: Callable[[Lane], bool]) -> None:
        """Give up the lanes that have not begun, of those that are wanted."""
        for lane in lanes.take_back(is_wanted):
            self.give_up(lane.claims(), READY)
            self.close(lane)

    def stop(self, lanes: Lanes, is_wanted: Callable[[Lane], bool]) -> None:
        """Give up the claims of lanes that are wanted, but for attempts in progress, with which these lanes close."""
        self.take_back(lanes, is_wanted)
        for lane in self.lanes:
            if is_wanted(lane):
                self.give_up(lanes.stop(lane), READY)

    def close(self, lane: Lane) -> None:
        """Remove a lane. The next delivery of its lock is called up, unless another lane has the lock."""
        self._pools.end(lane)
        self.lanes.discard(lane)
        if lane.lock is not None and self._by_lock.get(lane.lock) is lane:
            del self._by_lock[lane.lock]
            self.unwritten.locks.add(lane.lock)

    def forget(self, refs: Collection[int]) -> None:
        """Remove claims."""
        for ref in refs:
            self.claims.pop(ref, None)

    def written(self) -> None:
        """Note that the database knows all ends."""
        self.unwritten = Unwritten()
