"""Makes single deliveries as a worker does: by the queue of their store and a thread for the attempt."""

from contextlib import contextmanager
from datetime import UTC, datetime
from queue import SimpleQueue

from extension_kit.deliveries.attempt import report
from extension_kit.deliveries.hung_runs import HungRuns
from extension_kit.deliveries.shards import NUMBER
from extension_kit.engine.lane import Job, Lane
from extension_kit.engine.lanes import Lanes
from extension_kit.engine.postgresql_queue import PostgresqlQueue
from extension_kit.engine.sqlite_queue import SqliteQueue

_TIMEOUT = 60.0


def queue_of(database):
    """The queue of a store."""
    return SqliteQueue() if database.is_sqlite else PostgresqlQueue()


def candidates(database, listener):
    """What a worker that has all shards may find to claim of a listener."""
    with database.transaction() as connection:
        found, _ = queue_of(database).candidates(connection, range(NUMBER), listener, 100)
    return found


def claimed(database, ref, now=None):
    """Claim a delivery, due or not; None if it does not wait, or is claimed."""
    now = now or datetime.now(UTC)
    with database.transaction() as connection:
        queue_of(database).bring_back(connection, [ref], now)
        claims = queue_of(database).claim(connection, [ref], now)
    return claims[0] if claims else None


def written(database, end):
    """Write the end of a claim and report it; returns True if the claim held."""
    with database.transaction() as connection:
        holds = queue_of(database).end(connection, [end]) == {end.claim.due.ref}
    report(end, counted=holds)
    return holds


@contextmanager
def one_lane(hung_runs=None):
    """A thread that makes deliveries, and the notes it tells."""
    notes = SimpleQueue()
    lanes = Lanes(1, notes.put, lambda: True, hung_runs or HungRuns(99, list))
    lanes.open()
    try:
        yield lanes, notes
    finally:
        lanes.close()


def make_attempt(database, find, ref, hung_runs=None):
    """Make an attempt of a delivery, due or not, and write its end; returns the end, None if it does not wait."""
    if (claim := claimed(database, ref)) is None:
        return None
    with database.read() as connection:
        handler = find(claim.due.listener, connection)
    with one_lane(hung_runs) as (lanes, notes):
        lanes.begin(Lane([Job(claim, handler)]))
        end = notes.get(timeout=_TIMEOUT).end
    written(database, end)
    return end
