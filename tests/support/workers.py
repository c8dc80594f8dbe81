"""Workers in a thread of the test, and what they make."""

import threading
from contextlib import contextmanager

from extension_kit.deliveries.handler import Handler
from extension_kit.deliveries.hung_runs import HungRuns
from extension_kit.deliveries.retry import RetrySchedule
from extension_kit.engine.worker import DeliveryWorker
from extension_kit.senders import Outcome
from extension_kit.store.database import Database

TIMEOUT = 20.0
QUICKLY = RetrySchedule((0.01,) * 30)
DELIVERED = Outcome("delivered")


def failed(seconds=0.01):
    """An attempt that failed, and is to be repeated after so many seconds."""
    return Outcome("failed", "not now", retry_in=seconds)


class Attempts:
    """Makes deliveries, and notes the ids of their events; ``outcomes`` has those that are not simply delivered.

    Args:
        outcomes: the outcomes of attempts for an event, or exceptions, one after the other.
        hold: events that attempts for an event wait for.
    """

    def __init__(self, outcomes=None, hold=None):
        self.started, self.ended = [], []
        self._outcomes = outcomes or {}
        self._hold = hold or {}
        self._lock = threading.Lock()

    def hold(self, events):
        """Have the attempts for some events wait."""
        self._hold = events

    def __call__(self, due):
        name = due.event_id
        with self._lock:
            self.started.append(name)
            left = self._outcomes.get(name)
            outcome = left.pop(0) if left else DELIVERED
        if name in self._hold:
            assert self._hold[name].wait(TIMEOUT)
        if isinstance(outcome, BaseException):
            raise outcome
        with self._lock:
            self.ended.append(name)
        return outcome


def always(make, schedule=QUICKLY, timeout=60.0):
    """Finds one handler for every listener."""
    handler = Handler(make, schedule, timeout)
    return lambda listener, connection: handler


@contextmanager
def working(database, make=None, *, find=None, renew=lambda: None, timeout=60.0, **options):
    """A worker in a thread, with connections of its own; stopped at the end.

    ``make`` makes the deliveries of every listener, or ``find`` finds their handlers.
    """
    options = {"threads": 4, "stalled_after": 30.0, "grace_period": 5.0, "name": "one", **options}
    own = Database(database.url.render_as_string(hide_password=False), flush=False)
    hung_runs = HungRuns(max(options["threads"] // 2, 1), renew)
    worker = DeliveryWorker(own, find or always(make, timeout=timeout), hung_runs, **options)
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        yield worker
    finally:
        worker.stop()
        thread.join(20)
        own.dispose()
        assert not thread.is_alive()
