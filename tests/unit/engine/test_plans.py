"""The statements of a cycle read few rows, however many deliveries wait."""

import re
from types import SimpleNamespace

import pytest

from extension_kit.deliveries.attempt import after_attempt
from extension_kit.deliveries.call_up import call_up
from extension_kit.deliveries.pauses import Pauses, read_pauses
from extension_kit.deliveries.retry import RetrySchedule
from extension_kit.deliveries.tables import BEHIND, LATER, READY
from extension_kit.engine.candidates import Line
from extension_kit.senders import Outcome
from extension_kit.store import deadline
from tests.support.databases import opened
from tests.support.queues import Deliveries, in_

NUMBER = 100_000
COLUMNS = (
    "event_ref, listener, lock, series, count, status, attempts, earlier, created_at, due_at, shard, stage, losses"
)
STAGE = f"CASE n - n / 4 * 4 WHEN 0 THEN '{LATER}' WHEN 1 THEN '{BEHIND}' ELSE '{READY}' END"
LISTENER = "('l' || (n - n / 7 * 7))"
LOCK = f"{LISTENER} || '|' || (n / 100)"


def fill(database, numbers, shard, now):
    """Have many deliveries wait: of seven listeners, each with a thousand locks, in all stages but claimed."""
    events = f"SELECT n, 's', 'e' || n, 'a.b', {now}, '{{}}' FROM {numbers}"
    values = f"n, {LISTENER}, {LOCK}, 's', n, 'waiting', 0, 0, {now}, {now}, {shard}, {STAGE}, 0"
    waiting = f"SELECT {values} FROM {numbers}"
    with deadline.patiently(), database.transaction() as connection:
        connection.exec_driver_sql(f"INSERT INTO events (ref, source, event_id, name, received_at, body) {events}")
        connection.exec_driver_sql(f"INSERT INTO deliveries ({COLUMNS}) {waiting}")


def cycle(stored, reading):
    """Have the queue do what a worker has it do in a cycle; ``reading`` watches the driver."""
    queue, shards, now = stored.queue, stored.shards, in_(0)
    with deadline.patiently(), stored.database.transaction() as real:
        driver = SimpleNamespace(driver_connection=reading(real.connection.driver_connection))
        connection = SimpleNamespace(connection=driver, dialect=real.dialect)
        queue.all_candidates(connection, shards, 48)
        assert queue.listeners(connection, shards, "l1", 64)[0] == ["l2", "l3", "l4", "l5", "l6"]
        assert queue.listeners(connection, shards, "", 64, ["l0", "l3"])[0] == ["l1", "l2", "l4", "l5", "l6"]
        assert read_pauses(connection) == Pauses()
        found, _ = queue.candidates(connection, shards, "l3", 48)
        queue.followers(connection, [Line(each.lock, each.ref, 64) for each in found])
        assert queue.hold(connection, [each.head for each in found])
        queue.set_aside(connection, [each.ref for each in found[:5]], BEHIND)
        claims = queue.claim(connection, [each.ref for each in found[5:]], now)
        assert queue.claimed(connection, shards) == claims
        assert queue.restore(connection, claims)
        queue.release(connection, claims[:3], BEHIND)
        done = Outcome("delivered")
        assert queue.end(connection, [after_attempt(each, RetrySchedule(), done, now, now) for each in claims[3:]])
        call_up(connection, {each.lock for each in found})
        queue.bring_back(connection, [4, 8], now)
        queue.wake(connection, shards, now)
        assert queue.next_due(connection, shards)


def short(statement):
    return re.sub(r"\s+", " ", statement)[:150]


class _Rows(list):
    description = True

    def fetchall(self):
        return self

    def fetchone(self):
        return self[0] if self else None


def test_sqlite_reads_few_rows(stored_in_file):
    steps = f"(WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < {NUMBER}) SELECT n FROM c)"
    fill(stored_in_file.database, steps, "0", "'2026-01-01 00:00:00.000000'")
    worked = {}

    class Reading:
        """The driver's connection; counts the thousands of steps of SQLite's machine, which reads a row in some."""

        def __init__(self, driver):
            self._driver = driver

        def execute(self, statement, *values):
            thousands = [0]

            def count():
                thousands[0] += 1

            self._driver.set_progress_handler(count, 1000)
            try:
                rows = _Rows(self._driver.execute(statement, *values).fetchall())
            finally:
                self._driver.set_progress_handler(None, 0)
            worked[short(statement)] = thousands[0]
            return rows

    cycle(stored_in_file, Reading)
    assert {statement: thousands for statement, thousands in worked.items() if thousands > 60} == {}


@pytest.mark.parametrize("mine", [range(32), [7]])
def test_postgresql_reads_few_rows(postgresql_url, mine):
    read = {}

    class Reading:
        """The driver's connection; counts the rows that the parts of each plan read or pass over."""

        def __init__(self, driver):
            self._driver = driver

        def execute(self, statement, values=()):
            with self._driver.transaction(force_rollback=True):
                explained = self._driver.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", values)
                read[short(statement)] = _rows(explained.fetchone()[0][0]["Plan"])
            return self._driver.execute(statement, values)

    with opened(postgresql_url) as database:
        stored = Deliveries(database)
        stored.shards = list(mine)
        fill(database, f"generate_series(1, {NUMBER}) AS c (n)", "n / 100 - n / 3200 * 32", "now() - interval '1 day'")
        with deadline.patiently(), database.transaction() as connection:
            connection.exec_driver_sql("ANALYZE events, deliveries")
        cycle(stored, Reading)
    assert {statement: rows for statement, rows in read.items() if rows > 10_000} == {}


def _rows(plan):
    """The rows of a plan: those that its parts give, and those that they remove."""
    own = plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0) + plan.get("Rows Removed by Index Recheck", 0)
    return own * plan["Actual Loops"] + sum(map(_rows, plan.get("Plans", ())))
