"""Claiming: which waiting deliveries a worker takes next, and into which lanes.

Tenants take turns, and their listeners within that, as ``Shares`` decides. Of a listener, the oldest ready deliveries
come first. Only the first waiting delivery of a lock is chosen; those behind it come into its lane.
"""

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from itertools import takewhile
from typing import NamedTuple

from sqlalchemy import Connection

from extension_kit.deliveries.attempt import SUSPECT
from extension_kit.deliveries.claims import Claim
from extension_kit.deliveries.handler import Due, FindHandler, Handler
from extension_kit.deliveries.pauses import Pauses
from extension_kit.deliveries.retry import RetrySchedule
from extension_kit.deliveries.tables import READY
from extension_kit.engine.body_room import BodyRoom, BodyRooms, TakeRoom
from extension_kit.engine.candidates import Follower, Line
from extension_kit.engine.choosing import Chosen, choose
from extension_kit.engine.lane import Job, Lane
from extension_kit.engine.pools import Pools
from extension_kit.engine.queue import Queue
from extension_kit.engine.windows import Held, Windows
from extension_kit.errors import StoreError
from extension_kit.senders import Outcome

logger = logging.getLogger("extension_kit.engine")

TenantsOf = Callable[[Sequence[str]], Mapping[str, str]]
"""Returns the tenant of each listener, by name; ``""`` for listeners without a tenant."""

_LONGEST = 64  # deliveries in a lane
_SECONDS = 0.5  # that the deliveries in a lane take, about
_TURN = 256  # deliveries after which a lane closes, so that other locks of the listener get its thread
_LISTENERS, _LISTENERS_OF_TENANTS = 64, 1000  # considered at a time; the others follow in later rounds
_NO_PAUSES = Pauses()
_MOST_BYTES = 1_000_000  # of the events that follow the first in a lane
_ASYNC_LANES = 128  # new lanes of async listeners in a transaction; the others follow in later ones


class Claimed(NamedTuple):
    """The claims of a transaction.

    Attributes:
        lanes: new lanes.
        following: new lanes that begin after others of their listener.
        more: more deliveries for lanes.
        has_more: True if there may be more ready deliveries.
        has_later: True if deliveries were set aside until their time.
        goes_on: True if others were not looked at, and none of those looked at can be claimed now, or if there is room
            for more than are claimed in a transaction.
    """

    lanes: Sequence[Lane] = ()
    following: Sequence[Lane] = ()
    more: Sequence[tuple[Lane, list[Job]]] = ()
    has_more: bool = False
    has_later: bool = False
    goes_on: bool = False


class Claiming:
    """Claims deliveries, within transactions.

    Args:
        queue: the queue.
        pools: divide the threads, and the attempts on the event loop, among listeners.
        find: finds the handler of a listener.
        tenants_of: returns the tenants of listeners.
    """

    def __init__(self, queue: Queue, pools: Pools, find: FindHandler, tenants_of: TenantsOf) -> None:
        self._queue = queue
        self._pools = pools
        self._shares = pools.plain
        self._find = find
        self._tenants_of = tenants_of
        self._place = ""

    def claim(
        self,
        connection: Connection,
        shards: Sequence[int],
        held: Held,
        now: datetime,
        *,
        pauses: Pauses = _NO_PAUSES,
        are_few: bool = False,
    ) -> Claimed:
        """Claim as many deliveries as there are threads for, and some that begin when these have ended.

        Args:
            connection: in a transaction.
            shards: those of the worker.
            held: the deliveries that it holds.
            now: the time.
            pauses: those paused have no turn, those probed have one delivery. The worker holds no lane of theirs that
                could grow.
            are_few: True if few deliveries are expected to be ready.
        """
        size = 2 * self._shares.most
        room: TakeRoom = BodyRoom(held.large_bodies, self._shares.is_quick)
        if (of_async := self._pools.of_async) is not None:
            size = max(size, 2 * min(of_async.most, _ASYNC_LANES))
            room = BodyRooms(room, held.async_bodies, of_async.is_quick, self._pools.is_async)
        windows = Windows(self._queue, connection, shards, held, size, room)
        # A look at all would find the deliveries of paused listeners, perhaps no others.
        ready = self._ready(connection, shards, pauses.paused, windows if are_few and not pauses.paused else None)
        waiting, probed = held.waiting, pauses.probed
        if of_async is None:
            chosen, following, is_left = choose(self._shares, windows, ready, waiting, self._shares.most, probed)
            is_cut = False
        else:
            plain, others = self._by_kind(ready)
            chosen, following, is_left = choose(self._shares, windows, plain, waiting, self._shares.most, probed)
            of_others, _, are_left = choose(of_async, windows, of_async.in_turn(others), None, _ASYNC_LANES, probed)
            chosen, is_left, is_cut = [*chosen, *of_others], is_left or are_left, len(of_others) >= _ASYNC_LANES
        has_more = bool(is_left or self._place or windows.has_more or windows.lacks_room)
        lines = {
            Line(head.lock, head.ref, self._length(listener) - 1): listener
            for listener, head in (*chosen, *following)
            if head.lock and head.losses < SUSPECT and self._pools.is_quick(listener) and listener not in probed
        }
        long = [lane for lane in held.lanes.values() if self._may_grow(lane)]
        for lane in long:
            line = Line(lane.lock or "", lane.last_ref, self._length(lane.listener) - len(lane.jobs))
            lines[line] = lane.listener
        behind = self._queue.followers(connection, [*lines]) if lines else {}
        listeners = {line.lock: listener for line, listener in lines.items()}
        rows = {lock: _portion(each, held.refs, partial(room.take, listeners[lock])) for lock, each in behind.items()}
        wanted = {head.ref: (listener, head.lock) for listener, head in (*chosen, *following)}
        wanted |= {ref: (listeners[lock], lock) for lock, line in rows.items() for ref in line}
        if not wanted:
            goes_on = (windows.has_more and not windows.lacks_room) or bool(self._place and not is_left)
            return Claimed(has_more=has_more, has_later=windows.has_later, goes_on=goes_on)
        jobs = self._jobs(connection, wanted, now, pauses.resumed)

        def lanes(heads: Iterable[Chosen]) -> list[Lane]:
            lines = ([head.ref, *rows.get(head.lock or "", ())] for _, head in heads if head.ref in jobs)
            return [Lane(_unbroken(line, jobs)) for line in lines]

        more = [(lane, _unbroken(rows.get(lane.lock or "", ()), jobs)) for lane in long]
        grown = [(lane, new) for lane, new in more if new]
        claimed = Claimed(lanes(chosen), lanes(following), grown, has_more, windows.has_later, is_cut)
        self._release_rest(connection, claimed, jobs)
        return claimed

    def _ready(
        self, connection: Connection, shards: Sequence[int], paused: Collection[str], windows: Windows | None
    ) -> list[str]:
        """Return listeners with ready deliveries, in the order of their turns."""
        found = windows.look_at_all() if windows else None
        if found is None:
            found = self._next_listeners(connection, shards, paused)
        else:
            self._place = ""
        if strangers := self._shares.strangers(found):
            try:
                self._shares.introduce(self._tenants_of(strangers))
            except StoreError as error:
                logger.debug("Cannot read the tenants of listeners: %s", error)
        return list(self._shares.in_turn(found))

    def _next_listeners(self, connection: Connection, shards: Sequence[int], paused: Collection[str]) -> list[str]:
        limit, after = _LISTENERS_OF_TENANTS if self._shares.has_tenants else _LISTENERS, self._place
        found, self._place = self._queue.listeners(connection, shards, after, limit, paused)
        if after and not self._place:
            first, last = self._queue.listeners(connection, shards, "", limit, paused)
            found += [listener for listener in first if listener <= after]
            self._place = last if last < after else ""
        return found

    def _by_kind(self, listeners: Iterable[str]) -> tuple[list[str], list[str]]:
        """Return the plain listeners, and the async ones."""
        kinds: tuple[list[str], list[str]] = [], []
        for listener in listeners:
            kinds[self._pools.is_async(listener)].append(listener)
        return kinds

    def _may_grow(self, lane: Lane) -> bool:
        """Return True if a lane is to get more deliveries of its lock."""
        if lane.is_closed or lane.made >= _TURN or not self._pools.is_quick(lane.listener):
            return False
        return len(lane.jobs) <= self._length(lane.listener) // 2

    def _length(self, listener: str) -> int:
        """Return the number of deliveries in a lane of a quick listener."""
        return min(self._pools.of(listener).attempts_within(_SECONDS, listener), _LONGEST)

    def _jobs(
        self,
        connection: Connection,
        wanted: Mapping[int, tuple[str, str | None]],
        now: datetime,
        resumed: Mapping[str, datetime],
    ) -> dict[int, Job]:
        """Claim deliveries, and return those that were claimed, with their handlers.

        Not those that no longer have the listener and the lock with which they were found: adopted at this moment, they
        may be behind others.
        """
        found = self._queue.claim(connection, wanted, now)
        claims = [claim for claim in found if (claim.due.listener, claim.lock) == wanted[claim.due.ref]]
        if len(claims) < len(found):
            moved = [claim for claim in found if (claim.due.listener, claim.lock) != wanted[claim.due.ref]]
            self._queue.release(connection, moved, READY)
        if resumed:
            claims = [_since(claim, resumed.get(claim.due.listener)) for claim in claims]
        return {job.claim.due.ref: job for job in self.with_handlers(connection, claims)}

    def with_handlers(self, connection: Connection, claims: Sequence[Claim]) -> list[Job]:
        """Return claims with their handlers, each listener's found once."""
        handlers: dict[str, Handler | None] = {}
        for claim in claims:
            listener = claim.due.listener
            if listener not in handlers:
                handlers[listener] = self._handler(connection, listener)
        return [Job(claim, handlers[claim.due.listener]) for claim in claims]

    def _handler(self, connection: Connection, listener: str) -> Handler | None:
        try:
            return self._find(listener, connection)
        except StoreError:
            raise
        except Exception as error:
            logger.exception("Cannot find the handler of %s", listener)
            return _failing(f"{type(error).__name__}: {error}")

    def _release_rest(self, connection: Connection, claimed: Claimed, jobs: Mapping[int, Job]) -> None:
        """Give up claims behind a delivery that could not be claimed."""
        used = {job.claim.due.ref for lane in (*claimed.lanes, *claimed.following) for job in lane.jobs}
        used |= {job.claim.due.ref for _, more in claimed.more for job in more}
        rest = [job.claim for ref, job in jobs.items() if ref not in used]
        if rest:
            self._queue.release(connection, rest, READY)


def _portion(line: Iterable[Follower], refs: Collection[int], take_room: Callable[[int], bool]) -> list[int]:
    """Return the deliveries of a line that may come into a lane: up to the first that has to wait, and not too many."""
    portion, size = [], 0
    for each in line:
        size += each.size
        if not each.is_due or each.losses >= SUSPECT or each.ref in refs:
            break
        if size > _MOST_BYTES or not take_room(each.size):
            break
        portion.append(each.ref)
    return portion


def _unbroken(line: Iterable[int], jobs: Mapping[int, Job]) -> list[Job]:
    """Return the jobs of a line up to the first that was not claimed."""
    return [jobs[ref] for ref in takewhile(jobs.__contains__, line)]


def _since(claim: Claim, resumed_at: datetime | None) -> Claim:
    """Return a claim with a schedule that is reckoned from the end of a pause."""
    first = claim.first_attempt_at
    return claim if not first or not resumed_at else claim._replace(first_attempt_at=max(first, resumed_at))


def _failing(error: str) -> Handler:
    def make(due: Due) -> Outcome:
        return Outcome("failed", error)

    return Handler(make, RetrySchedule(), 60.0)
