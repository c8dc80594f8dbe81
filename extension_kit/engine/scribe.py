"""Scribe: the thread of a worker that claims deliveries and writes their ends, many in one transaction."""

import logging
import math
import time
from collections.abc import Callable
from datetime import UTC, datetime

from sqlalchemy import Connection

from extension_kit.deliveries.attempt import report
from extension_kit.deliveries.readiness import Readiness
from extension_kit.deliveries.state import UnwrittenState
from extension_kit.deliveries.tables import BEHIND, WAITING
from extension_kit.engine.claiming import Claimed, Claiming
from extension_kit.engine.delays import Delays
from extension_kit.engine.holdings import Holdings
from extension_kit.engine.lane import Lane
from extension_kit.engine.lanes import Lanes
from extension_kit.engine.news import ENOUGH, News
from extension_kit.engine.outages import Outages
from extension_kit.engine.owner import Owner
from extension_kit.engine.pauses import KnownPauses, KnownRests
from extension_kit.engine.pools import Pools
from extension_kit.engine.queue import Queue
from extension_kit.engine.recovery import Recovery
from extension_kit.engine.shares import SLOW
from extension_kit.errors import StoreError

logger = logging.getLogger("extension_kit.engine")

_APART = 0.005  # seconds between the starts of two transactions, unless there are enough notes
_NOTES_APART = 0.015  # if there are only notes, and most threads still have work
_LOOK = 0.25  # seconds between two looks at the shards
_POLL = 2.0  # seconds after which one looks for deliveries without a notification
_PAUSE = 1.0  # seconds after an error in the kit itself


class Scribe:
    """Runs the transactions of a worker.

    Args:
        queue: the queue.
        owner: owns the shards.
        claiming: claims deliveries.
        pools: divide the threads, and the attempts on the event loop.
        stalled_after: seconds without an answer of the database after which others may own the claims.
        grace_period: seconds that attempts have to end after ``stop``.
        name: the worker's name in the log.
        alive: called in every turn, as a sign of life; None: nobody watches.
        is_busy: True while nothing shall be claimed; it wakes this thread in the end.
        readiness: the functions that are not ready; None: all are.
        unwritten_state: gets the changes of ends until these are written.

    Attributes:
        news: the notes of other threads.
    """

    def __init__(
        self,
        queue: Queue,
        owner: Owner,
        claiming: Claiming,
        pools: Pools,
        *,
        stalled_after: float,
        grace_period: float,
        name: str,
        alive: Callable[[], None] | None = None,
        is_busy: Callable[[], bool] = lambda: False,
        readiness: Readiness | None = None,
        unwritten_state: UnwrittenState | None = None,
    ) -> None:
        self._queue = queue
        self._owner = owner
        self._claiming = claiming
        self._pools = pools
        self._silence = stalled_after / 2
        self._grace_period = grace_period
        self._name = name
        self._alive = alive
        self._is_busy = is_busy
        self._unwritten_state = unwritten_state or UnwrittenState()
        self.news = News(self._unwritten_state)
        self._outages = Outages()
        self._delays = Delays()
        self._answered = -math.inf
        self._began = self._looked = self._polled = -math.inf
        # From here on for the scribe's thread only.
        self._holdings = Holdings(pools)
        self._recovery = Recovery(queue, claiming, self._holdings)
        self._pauses = KnownPauses(self._holdings)
        self._rests = KnownRests(self._holdings, readiness or Readiness())
        self._taken: list[int] = []
        self._overdue: list[int] = []
        self._has_more = self._had_more = True
        self._due_at = math.inf
        self._is_uncertain = False
        self._may_claim = True

    def wake(self) -> None:
        """Look for deliveries; from any thread."""
        self.news.wake()

    def stop(self) -> None:
        """Claim no more deliveries, and make ``run`` return when all attempts have ended; from any thread."""
        self.news.stop()

    def may_begin(self) -> bool:
        """Return False after ``stop``, and if others may own the claims, as the database has not answered for long."""
        return not self.news.stop_asked and time.monotonic() - self._answered < self._silence

    def run(self, lanes: Lanes) -> None:
        """Work until ``stop``, and at most the grace period longer."""
        ends_at = math.inf
        while self._holdings or not self.news.stop_asked:
            if self.news.stop_asked and ends_at == math.inf:
                ends_at = time.monotonic() + self._grace_period
                self._holdings.stop(lanes, lambda lane: True)
            if time.monotonic() >= ends_at:
                break
            if self._alive is not None:
                self._alive()
            self._wait(ends_at)
            if self._work(lanes) is False and self.news.stop_asked and not self._holdings.lanes:
                break
        for lane in self._holdings.lanes:
            lanes.hand_back(lane)
        if self._holdings and not self._work(lanes):
            logger.warning("Worker %s stopped while the database was unavailable", self._name)
        self._owner.close()

    def _work(self, lanes: Lanes) -> bool:
        """Run one transaction, if there is something to do; return False if the database is unavailable."""
        try:
            self._cycle(lanes)
        except StoreError as error:
            pause = self._outages.begin(error)
        except Exception:
            logger.exception("Worker %s failed, going on in %g s", self._name, _PAUSE)
            pause = _PAUSE
        else:
            self._outages.end()
            return True
        self._is_uncertain = True
        self.news.pause(pause)
        return False

    def _wait(self, ends_at: float) -> None:
        """Wait until there is something to do."""
        slow = self._pools.becomes_slow if self._has_more else None
        until = ends_at if slow is None else min(time.monotonic() + slow, ends_at)
        news = self.news
        with news.changed:
            while (pause := min(self._next(), until) - time.monotonic()) > 0:
                news.changed.wait(min(pause, self._owner.poll))
                news.are_urgent |= self._owner.has_news()
                if news.stop_asked and ends_at == math.inf:
                    return

    def _next(self) -> float:
        """Return the time of the next transaction, or of the next look at the shards."""
        times = [self._looked + _LOOK, self._polled + _POLL]
        if self._owner.shards and not self.news.stop_asked:
            times += [self._due_at, self._pauses.due_at, self._rests.due_at]
        if len(self.news.notes) >= ENOUGH:
            times.append(-math.inf)
        elif self.news.are_urgent or self._holdings.unwritten or self._is_uncertain:
            times.append(self._began + _APART)
        elif self.news.notes:
            times.append(self._began + _NOTES_APART)
        if (wait := self._delays.wait) is not None:
            times.append(time.monotonic() + wait)
        return min(times)

    def _cycle(self, lanes: Lanes) -> None:
        self._began = began = time.monotonic()
        notes, has_news = self.news.take()
        for note in notes:
            self._holdings.take_in(note)
        self._has_more |= self._rests.look(lanes, began) or has_news or began >= self._due_at
        if began >= self._looked + _LOOK or self._is_uncertain:
            self._looked = began
            self._taken += self._owner.look(self._holdings.shards())
            if self._taken:
                self._has_more, self._due_at = True, began
            before = began - SLOW  # lanes that should have begun: the attempts before them have become slow
            self._holdings.take_back(lanes, lambda lane: lane.since < before)
        if began >= self._polled + _POLL:
            self._polled, self._has_more, has_news = began, True, True
        if has_news or self._taken or self._is_uncertain:
            self._pauses.hear(began)
        self._overdue += self._delays.overdue()
        self._may_claim = not self._is_busy()
        reads = (self._has_more and self._may_claim) or began >= self._pauses.due_at
        if not (self._holdings.unwritten or self._taken or self._is_uncertain or reads or self._overdue):
            self._answered = began
            return
        if not (self._owner.shards or self._holdings.claims or self._holdings.unwritten):
            self._is_uncertain = False
            self._answered = began
            return
        self._transact(lanes)
        self._answered = began

    def _transact(self, lanes: Lanes) -> None:
        now = datetime.now(UTC)
        written, claimed = self._holdings.unwritten, Claimed()
        try:
            with self._owner.transaction() as connection:
                adopted = False
                if self._is_uncertain:
                    adopted = self._recovery.recover(connection, lanes, self._owner.shards, now)
                elif self._taken:
                    adopted = self._recovery.adopt(connection, self._taken, now)
                if adopted:
                    self._due_at = -math.inf
                # Before the ends are written, so that the claims that are given up are written with them.
                if self._began >= self._pauses.due_at and self._pauses.look(connection, lanes, self._began):
                    self._has_more = True
                held = written.write(self._queue, connection)
                if self._overdue:
                    self._queue.bring_back(connection, self._overdue, now)
                if self._owner.has_news():
                    self._pauses.hear(self._began)
                    self._has_more = True
                if written.locks or self._overdue:
                    self._has_more = True
                may_claim = self._may_claim and not self.news.stop_asked and not self._is_uncertain
                if self._has_more and may_claim and self._owner.shards:
                    claimed = self._claim(connection, now)
        except BaseException:
            if not self._is_uncertain:  # else it has claimed nothing
                self._recovery.doubt(now)
            self._has_more, self._due_at = True, self._began
            raise
        self._unwritten_state.remove(written.ends)
        self._holdings.written()
        self._taken, self._overdue = [], []
        if self._is_uncertain:
            self._is_uncertain = False
            self._recovery.end_doubts()
            self._has_more = self.news.are_urgent = True
        for end in written.ends:
            report(end, counted=end.claim.due.ref in held)
            if end.status == WAITING and end.due_at is not None and end.due_at > end.at:
                self._delays.add(end.claim.due.ref, end.due_at)
                self._due_at = min(self._due_at, time.monotonic() + (end.due_at - now).total_seconds())
        self._begin(lanes, claimed)

    def _claim(self, connection: Connection, now: datetime) -> Claimed:
        shards = self._owner.shards
        is_due = self._began >= self._due_at or self._polled == self._began
        if is_due:
            self._queue.wake(connection, shards, now)
        held = self._holdings.held()
        pauses = self._rests.with_pauses(self._pauses.now)
        claimed = self._claiming.claim(connection, shards, held, now, pauses=pauses, are_few=not self._had_more)
        self._has_more, self._had_more = claimed.has_more, claimed.has_more
        if claimed.lanes or claimed.following or claimed.more:
            self._owner.expect_more()
        self.news.are_urgent |= claimed.goes_on
        if is_due or claimed.has_later:
            due = self._queue.next_due(connection, shards)
            soonest = _LOOK if held.has_suspect else 0.0  # other suspects are due all the time
            wait = math.inf if due is None else max((due - now).total_seconds(), soonest)
            self._due_at = time.monotonic() + wait
        return claimed

    def _begin(self, lanes: Lanes, claimed: Claimed) -> None:
        for lane in (*claimed.lanes, *claimed.following):
            self._holdings.add(lane)
        for lane in claimed.lanes:
            self._holdings.begin(lane)
            lanes.begin(lane)
        for lane in claimed.following:
            lanes.begin_after(lane)
        for lane, jobs in claimed.more:
            claims = [job.claim for job in jobs]
            if lanes.extend(lane, jobs):
                self._holdings.add_claims(claims)
            elif lane.is_broken:
                self._holdings.give_up(claims, BEHIND)
            else:
                successor = Lane(jobs)
                self._holdings.add(successor)
                self._holdings.begin(successor)
                lanes.begin(successor)
