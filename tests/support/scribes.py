"""The transactions of a worker on a real store, which tests see, count and interfere with."""

import threading
from contextlib import contextmanager

import pytest

from extension_kit.deliveries.hung_runs import HungRuns
from extension_kit.deliveries.tables import DELIVERED
from extension_kit.engine import scribe
from extension_kit.engine.claiming import Claiming
from extension_kit.engine.lanes import Lanes
from extension_kit.engine.pools import Pools
from extension_kit.engine.postgresql_owner import PostgresqlOwner
from extension_kit.engine.postgresql_queue import PostgresqlQueue
from extension_kit.engine.scribe import Scribe
from extension_kit.engine.shares import Shares, most
from extension_kit.engine.sqlite_owner import SqliteOwner
from extension_kit.engine.sqlite_queue import SqliteQueue
from extension_kit.errors import StoreUnavailable
from extension_kit.store.database import Database
from tests.support.waiting import wait_until
from tests.support.workers import TIMEOUT, always


class Interfered:
    """An owner that counts transactions, and fails on demand.

    It fails all the time, or once instead of telling of the commit, when a query in the transaction finds something.
    """

    def __init__(self, owner):
        self._owner = owner
        self.transactions = self.looks = 0
        self.is_down = False
        self.forgets = None

    def __getattr__(self, name):
        return getattr(self._owner, name)

    def look(self, busy):
        self.looks += 1
        self._fail()
        return self._owner.look(busy)

    @contextmanager
    def transaction(self):
        self._fail()
        self.transactions += 1
        with self._owner.transaction() as connection:
            yield connection
            forgets = self.forgets and connection.exec_driver_sql(self.forgets).scalar_one()
        if forgets:
            self.forgets = None
            raise StoreUnavailable("no answer")

    def _fail(self):
        if self.is_down:
            raise StoreUnavailable("the database is gone")


class Working:
    """A worker, of which a test can see and touch the parts."""

    def __init__(
        self,
        database,
        make,
        *,
        threads=4,
        grace_period=5.0,
        schedule=None,
        timeout=60.0,
        quick=(),
        find=None,
        unwritten_state=None,
    ):
        self.database = Database(database.url.render_as_string(hide_password=False), flush=False)
        self.hung_runs = HungRuns(100, lambda: None)
        self.shares = Shares(threads, self.hung_runs.by_listener)
        for listener in quick:
            self.shares.learn(listener, 0.001, for_good=True)
        self.owner = Interfered(
            SqliteOwner(self.database) if database.is_sqlite else PostgresqlOwner(self.database, 30.0)
        )
        queue = SqliteQueue() if database.is_sqlite else PostgresqlQueue()
        find = find or (always(make, timeout=timeout) if schedule is None else always(make, schedule, timeout))
        claiming = Claiming(queue, Pools(self.shares), find, lambda names: dict.fromkeys(names, ""))
        self.scribe = Scribe(
            queue,
            self.owner,
            claiming,
            Pools(self.shares),
            stalled_after=30.0,
            grace_period=grace_period,
            name="one",
            unwritten_state=unwritten_state,
        )
        self.lanes = Lanes(most(threads), self.scribe.news.tell, self.scribe.may_begin, self.hung_runs)
        self.thread = threading.Thread(target=self.scribe.run, args=(self.lanes,))

    def start(self):
        self.lanes.open()
        self.thread.start()

    def end(self):
        """Stop, and wait for the end."""
        self.scribe.stop()
        self.thread.join(TIMEOUT)
        self.lanes.close()
        assert not self.thread.is_alive()
        self.database.dispose()


@pytest.fixture
def worker(stored):
    """Start a worker: ``worker(make)``; all are stopped at the end."""
    started = []

    def start(make, **options):
        made = Working(stored.database, make, **options)
        started.append(made)
        made.start()
        return made

    yield start
    for made in started:
        if made.thread.is_alive():
            made.owner.is_down = False
            made.end()


@pytest.fixture
def seldom(monkeypatch):
    """Looks without a cause are hours apart."""
    monkeypatch.setattr(scribe, "_POLL", 3600.0)
    monkeypatch.setattr(scribe, "_LOOK", 3600.0)


def are_over(stored):
    return all(status == DELIVERED for status in stored.statuses().values())


def transactions_of_looks(made, looks):
    """How many transactions there are while the shards are looked at so often."""
    began = made.owner.looks, made.owner.transactions
    wait_until(lambda: made.owner.looks >= began[0] + looks)
    return made.owner.transactions - began[1]
