"""Windows: the oldest ready deliveries of listeners, of which a worker claims some within a transaction."""

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from sqlalchemy import Connection

from extension_kit.deliveries.attempt import SUSPECT
from extension_kit.deliveries.call_up import call_up
from extension_kit.deliveries.tables import BEHIND, LATER
from extension_kit.engine.body_room import TakeRoom
from extension_kit.engine.candidates import Candidate
from extension_kit.engine.lane import Lane
from extension_kit.engine.queue import Queue

_ROUNDS = 10  # looks for deliveries that can be claimed, in one transaction


class Held(NamedTuple):
    """The deliveries that a worker holds.

    Attributes:
        lanes: lanes with a lock, by lock.
        refs: the numbers of all deliveries.
        waiting: the number of lanes that have not begun, by listener.
        has_suspect: True if one of the deliveries may have killed a process.
        large_bodies: bytes of the large bodies of plain listeners, by listener.
        async_bodies: bytes of all bodies of async listeners, by listener.
    """

    lanes: Mapping[str, Lane]
    refs: Collection[int]
    waiting: Mapping[str, int]
    has_suspect: bool
    large_bodies: Mapping[str, int]
    async_bodies: Mapping[str, int] = MappingProxyType({})


class Windows:
    """Deliveries that may be claimed, by listener.

    A delivery that cannot be claimed now is set aside, so that the next look does not find it: one behind another of
    its lock, and a suspect while another one is attempted.

    Args:
        queue: the queue.
        connection: in the transaction.
        shards: of the worker.
        held: the deliveries that the worker holds.
        size: the number of deliveries looked at at once.
        room: for the bodies of those that are taken.
    """

    def __init__(
        self,
        queue: Queue,
        connection: Connection,
        shards: Sequence[int],
        held: Held,
        size: int,
        room: TakeRoom,
    ) -> None:
        self._queue = queue
        self._connection = connection
        self._shards = shards
        self._held = held
        self._locks = set(held.lanes)
        self._has_suspect = held.has_suspect
        self._size = size
        self._room = room
        self._found: dict[str, deque[Candidate]] = {}
        self.has_more = False
        """True if a listener has more ready deliveries than were looked at."""
        self.has_later = False
        """True if a delivery was set aside until its time."""
        self.lacks_room = False
        """True if a delivery was not taken because its body has no room."""

    def look_at_all(self) -> list[str] | None:
        """Look at the ready deliveries of all listeners, if they are few, and return the listeners; else None."""
        found = self._queue.all_candidates(self._connection, self._shards, self._size)
        if found is None:
            return None
        self._found = {listener: self._claimable(candidates) for listener, candidates in found.items()}
        return sorted(self._found)

    def take(self, listener: str) -> Candidate | None:
        """Take the next delivery of a listener; None if there is none, or no room for its body."""
        if listener not in self._found:
            self._found[listener] = self._look(listener)
        found = self._found[listener]
        while found:
            candidate = found[0]
            if candidate.losses >= SUSPECT and self._has_suspect:
                found.popleft()
                self._queue.set_aside(self._connection, [candidate.ref], LATER)
                self.has_later = True
                continue
            if not self._room.take(listener, candidate.size):
                self.lacks_room = True
                return None
            self._has_suspect |= candidate.losses >= SUSPECT
            return found.popleft()
        return None

    def _look(self, listener: str) -> deque[Candidate]:
        for _ in range(_ROUNDS):
            found, is_all = self._queue.candidates(self._connection, self._shards, listener, self._size)
            claimable = self._claimable(found)
            if claimable or is_all:
                self.has_more |= not is_all
                return claimable
        self.has_more = True
        return deque()

    def _claimable(self, candidates: Sequence[Candidate]) -> deque[Candidate]:
        """Return the candidates that may be claimed, and set the others aside."""
        claimable: deque[Candidate] = deque()
        behind = []
        for candidate in candidates:
            if candidate.ref in self._held.refs:
                continue
            if candidate.lock is None:
                claimable.append(candidate)
            elif candidate.head == candidate.ref and candidate.lock not in self._locks:
                self._locks.add(candidate.lock)
                claimable.append(candidate)
            else:
                behind.append(candidate)
        if behind:
            self._set_behind(behind)
        return claimable

    def _set_behind(self, candidates: Sequence[Candidate]) -> None:
        """Set deliveries aside until the first of their lock has ended.

        Without a lane for the lock, the first one is locked until the end of the transaction. Else it could end by hand
        at this moment, and nothing would call up the next one.
        """
        others = {each.head: each.lock for each in candidates if each.lock not in self._held.lanes}
        held = self._queue.hold(self._connection, others.keys()) if others else set()
        behind = [each.ref for each in candidates if each.lock in self._held.lanes or each.head in held]
        if held:
            call_up(self._connection, {lock for ref, lock in others.items() if ref in held and lock})
        if behind:
            self._queue.set_aside(self._connection, behind, BEHIND)
