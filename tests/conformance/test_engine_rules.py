"""The rules of delivering, held by a model through random steps on both stores.

Two workers in processes of their own make attempts that end as a test says; one of them may be killed or stopped. After
each step the deliveries that are being attempted have to be those of the model: of each lock the first that waits, if
it is due, and each that is due and has no lock. So nothing is made out of order, twice, or not at all.
"""

import os
import queue
import random
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from itertools import count

import pytest
from sqlalchemy import select

from extension_kit.deliveries.adoption import AdoptionError, adopt
from extension_kit.deliveries.attempt import SUSPECT
from extension_kit.deliveries.outbox import Outbox
from extension_kit.deliveries.queries import Filter
from extension_kit.deliveries.replay import discard, replay
from extension_kit.deliveries.requeue import requeue
from extension_kit.deliveries.stranded import requeue_stranded
from extension_kit.deliveries.tables import (
    CLAIMED,
    DEAD,
    DELIVERED,
    DISCARDED,
    WAITING,
    attempts,
    deliveries,
    events,
)
from extension_kit.deliveries.waiting import discard_waiting, retry_now
from extension_kit.store.database import Database
from extension_kit.store.migrate import upgrade
from tests.support.recording import entry
from tests.support.waiting import wait_until

STEPS = int(os.environ.get("RULES_STEPS", "40"))
SEEDS = int(os.environ.get("RULES_SEEDS", "2"))
LISTENERS = ("one@/events/one", "two@/events/two")
MOST = 14  # deliveries that wait at the same time

pytestmark = pytest.mark.timeout(60 + 5 * STEPS)


@dataclass
class Delivery:
    """What the model knows of a delivery.

    Attributes:
        overtaken: True if it came back before one with its lock that may have been claimed: that one may be made first.
        worker: the worker that attempts it; None: it is not attempted.
    """

    name: str
    ref: int
    listener: str
    series: str | None
    status: str = WAITING
    is_due: bool = True
    number: int = 0
    overtaken: bool = False
    worker: "Worker | None" = None

    @property
    def lock(self):
        return self.series and (self.listener, self.series)


class Worker:
    """A worker in a process of its own; what begins there comes into a queue."""

    def __init__(self, url, begun, log):
        command = [sys.executable, "-m", "tests.conformance.driven_worker", url, *LISTENERS]
        with log.open("a") as errors:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
            )
        self._begun = begun
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.process.stdout:
            name, number = line.split()
            self._begun.put((self, name, int(number)))

    def end(self, name, result, seconds):
        self.process.stdin.write(f"{name} {result} {seconds}\n")
        self.process.stdin.flush()

    def close(self, how=signal.SIGKILL):
        """End it, and wait until all that it has told of is in the queue."""
        self.process.send_signal(how)
        self.process.wait(30)
        self._reader.join(30)
        self.process.stdin.close()
        self.process.stdout.close()


class Walk:
    """Random steps, and the model."""

    def __init__(self, database, seed, log):
        self._database = database
        self._url = database.url.render_as_string(hide_password=False)
        self._outbox = Outbox(database)
        self._random = random.Random(seed)
        self._names = (f"e{number}" for number in count())
        self._begun = queue.SimpleQueue()
        self._log = log
        self._told = []
        self.deliveries: dict[str, Delivery] = {}
        self.workers = [self._start(), self._start()]

    def _start(self):
        return Worker(self._url, self._begun, self._log)

    def close(self):
        for worker in self.workers:
            worker.close()

    def walk(self, steps):
        often = [self.record, self.record, self.succeed, self.succeed, self.succeed]
        others = [self.fail, self.postpone, self.refuse, self.retry_now, self.replay, self.discard_waiting]
        seldom = [self.discard_dead, self.adopt, self.requeue, self.lose, self.lose, self.stop]
        for _ in range(steps):
            step = self._random.choice([*often * 3, *others * 2, *seldom])
            self._told.append(step.__name__)
            step()
            self.settle()
        self._drain()

    def _drain(self):
        """Have everything delivered that waits or is dead."""
        list(replay(self._database, Filter()))
        for each in self._with(DEAD):
            self._replayed(each)
        while self._with(WAITING):
            list(retry_now(self._database, Filter()))
            for each in self._with(WAITING):
                each.is_due = True
            self.settle()
            for each in self.running():
                self._end(each, "delivered", DELIVERED)
        self.settle()
        with self._database.read() as connection:
            delivered = select(attempts.c.delivery_ref).where(attempts.c.result == "delivered")
            refs = connection.execute(delivered).scalars().all()
        assert sorted(refs) == sorted(each.ref for each in self._with(DELIVERED))

    # The model

    def _with(self, status):
        return [each for each in self.deliveries.values() if each.status == status]

    def running(self):
        return [each for each in self.deliveries.values() if each.worker is not None]

    def _line(self, lock):
        """The waiting deliveries with a lock, in their order."""
        return sorted((each for each in self._with(WAITING) if each.lock == lock), key=lambda each: each.ref)

    def settle(self):
        """Wait until those are attempted that have to be, and check that no others are."""
        try:
            wait_until(self._is_settled)
        except AssertionError:
            pytest.fail(f"after {self._told[-20:]}: {self._describe()}")
        assert requeue_stranded(self._database) == 0

    def _describe(self):
        rows = self._rows()
        return [f"{each}, {rows[each.ref]}" for each in self._with(WAITING)]

    def _is_settled(self):
        while not self._begun.empty():
            self._begin(*self._begun.get())
        rows = self._rows()
        for each in self.deliveries.values():
            row = rows[each.ref]
            if row.status != each.status or (each.worker is not None and row.stage != CLAIMED):
                return False
        suspects = {ref for ref, row in rows.items() if row.losses >= SUSPECT}
        is_suspect_running = any(each.ref in suspects for each in self.running())
        for each in self._with(WAITING):
            line = self._line(each.lock) if each.lock else [each]
            is_next = each is line[0] and each.is_due and not any(other.worker for other in line)
            if is_next and not (each.ref in suspects and is_suspect_running):
                return False
        return True

    def _begin(self, worker, name, number):
        each = self.deliveries[name]
        told = f"{each} begins with number {number} after {self._told[-20:]}"
        if worker not in self.workers:  # it was killed just afterwards
            each.number = number
            return
        assert each.status == WAITING, told
        assert each.worker is None, told
        assert each.is_due, told
        assert number > each.number, told
        if each.lock:
            line = self._line(each.lock)
            assert not any(other.worker for other in line), told
            before = line[: line.index(each)]
            assert all(other.overtaken for other in before), f"{told}: {before}"
        each.worker, each.number, each.overtaken = worker, number, False

    def _rows(self):
        query = select(deliveries.c.ref, deliveries.c.status, deliveries.c.stage, deliveries.c.losses)
        with self._database.read() as connection:
            return {row.ref: row for row in connection.execute(query)}

    def _end(self, each, result, status, seconds=0.0, *, is_due=True):
        worker, each.worker = each.worker, None
        each.status, each.is_due = status, is_due
        worker.end(each.name, result, seconds)

    def _came_back(self, each):
        """Note that a delivery comes before others of its lock that may have been claimed."""
        each.is_due = True
        each.overtaken = each.lock is not None and any(other.worker for other in self._line(each.lock))

    def _replayed(self, each):
        each.status = WAITING
        self._came_back(each)

    def _chosen(self, among):
        return self._random.choice(among) if among else None

    # The steps

    def record(self):
        if len(self._with(WAITING)) > MOST:
            return
        listener = self._random.choice(LISTENERS)
        names = [next(self._names) for _ in range(self._random.randint(1, 4))]
        series = [self._random.choice([None, "a", "b", "b"]) for _ in names]
        self._outbox.record([entry(name, listener, series=own) for name, own in zip(names, series, strict=True)])
        query = select(events.c.event_id, deliveries.c.ref).join_from(deliveries, events)
        with self._database.read() as connection:
            refs = dict(map(tuple, connection.execute(query.where(events.c.event_id.in_(names)))))
        for name, own in zip(names, series, strict=True):
            self.deliveries[name] = Delivery(name, refs[name], listener, own)

    def succeed(self):
        if each := self._chosen(self.running()):
            self._end(each, "delivered", DELIVERED)

    def fail(self):
        if each := self._chosen(self.running()):
            self._end(each, "failed", WAITING, 0.01)

    def postpone(self):
        if each := self._chosen(self.running()):
            self._end(each, "failed", WAITING, 3600.0, is_due=False)

    def refuse(self):
        if each := self._chosen(self.running()):
            self._end(each, "refused", DEAD)

    def retry_now(self):
        if each := self._chosen(self._with(WAITING)):
            list(retry_now(self._database, Filter(refs=(each.ref,))))
            each.is_due = True

    def replay(self):
        if each := self._chosen(self._with(DEAD)):
            list(replay(self._database, Filter(refs=(each.ref,))))
            self._replayed(each)

    def discard_waiting(self):
        if each := self._chosen(self._with(WAITING)):
            [(changed, attempted)] = discard_waiting(self._database, Filter(refs=(each.ref,)))
            assert changed + attempted == 1
            assert not (changed and each.worker)
            if changed:
                each.status = DISCARDED

    def discard_dead(self):
        if each := self._chosen(self._with(DEAD)):
            list(discard(self._database, Filter(refs=(each.ref,))))
            each.status = DISCARDED

    def adopt(self):
        old, new = self._random.sample(LISTENERS, 2)
        try:
            with self._database.transaction() as connection:
                adopt(connection, old, new)
        except AdoptionError:
            return
        for each in [*self._with(WAITING), *self._with(DEAD)]:
            if each.listener == old:
                assert each.worker is None
                each.listener = new
                if each.status == WAITING:
                    self._came_back(each)

    def requeue(self):
        with self._database.transaction() as connection:
            requeue(connection)

    def lose(self):
        self._replace(signal.SIGKILL)

    def stop(self):
        self._replace(signal.SIGTERM)

    def _replace(self, how):
        """End a worker while it attempts deliveries, and start another beside the one that is left."""
        lost = self.workers.pop(self._random.randrange(2))
        for each in self.running():
            if each.worker is lost:
                each.worker = None
        lost.close(how)
        self.workers.append(self._start())


@pytest.fixture
def tables():
    """Those of the kit."""
    return ()


@pytest.mark.parametrize("seed", range(SEEDS))
def test_after_every_step_those_are_attempted_that_have_to_be(database_url, seed, tmp_path):
    database = Database(database_url)
    upgrade(database)
    walk = Walk(database, seed, tmp_path / "log")
    try:
        walk.walk(STEPS)
    finally:
        walk.close()
        database.dispose()
        print((tmp_path / "log").read_text())
