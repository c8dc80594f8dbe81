"""A large event log: events of runs and of other systems, with deliveries of all kinds, made by the database itself."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import psycopg
from sqlalchemy import Connection, text

from benchmarks import events
from extension_kit.store.database import Database

DAYS = 30
EVENTS_OF_RUN = 18
_AT_ONCE = 100_000  # events of a transaction
_TOGETHER = 10  # runs whose events take turns, with an event of another system after them

RARE_ERROR = "certificate has expired"
RARE_SOURCE = "pulp"
LISTENER = "oncall.page@/events/page"
RARE_LISTENER = "subscription:7"

_NUMBERS = {
    "sqlite": "WITH RECURSIVE given (n) AS (SELECT :first UNION ALL SELECT n + 1 FROM given WHERE n < :last)",
    "postgresql": "WITH given AS (SELECT n FROM generate_series(CAST(:first AS bigint), CAST(:last AS bigint)) AS n)",
}
_TIME = {
    "sqlite": "strftime('%Y-%m-%d %H:%M:%f000', :began + {number} * :seconds, 'unixepoch')",
    "postgresql": "to_timestamp(CAST(:began AS float) + {number} * CAST(:seconds AS float))",
}
_EVENTS = """
INSERT INTO events (ref, source, event_id, name, subject, time, received_at, body) {numbers}
SELECT n,
    CASE WHEN n % 200000 = 7 THEN '{rare_source}' WHEN n % {turns} = {together} THEN 'croneye' ELSE 'steadybit' END,
    'event-' || CAST(n AS text),
    CASE WHEN n % {turns} = {together} THEN 'croneye.job.executed'
        WHEN n / {turns} % {of_run} = 0 THEN 'experiment.execution.created'
        WHEN n / {turns} % {of_run} = {of_run} - 1 THEN 'experiment.execution.completed'
        ELSE 'experiment.execution.step-completed' END,
    CASE WHEN n % {turns} <> {together} THEN 'ADM-' || CAST({run} % 400 AS text) || '/' || CAST({run} AS text) END,
    {time}, {time}, :body
FROM given
"""
# Of the oldest fifth, every tenth delivery is dead and every fortieth waits; all the others were delivered.
_DELIVERIES = """
INSERT INTO deliveries (ref, event_ref, listener, lock, series, count, status, attempts, earlier, created_at, due_at,
    begun_at, ended_at, error, shard, stage, losses) {numbers}
SELECT n, event_ref, listener, CASE WHEN is_of_run THEN listener || '|t/' || CAST({run} AS text) END,
    CASE WHEN is_of_run THEN 't/' || CAST({run} AS text) END,
    CASE WHEN is_of_run THEN event_ref / {turns} % {of_run} + 1 END, status,
    CASE status WHEN 'dead' THEN 8 WHEN 'waiting' THEN 2 ELSE 1 END, 0, at, at, at,
    CASE WHEN status <> 'waiting' THEN at END,
    CASE WHEN status <> 'delivered' THEN CASE WHEN n % 50000 = 0 THEN '{rare_error}'
        ELSE 'HTTP 503: ' || CAST(n % 7 AS text) || ' Service Unavailable, the upstream has said nothing for 30 s' END
    END,
    event_ref % {shards}, CASE WHEN status = 'waiting' THEN 'ready' END, 0
FROM (
    SELECT n, (n - 1) * 10 / 11 + 1 AS event_ref, {time_of_event} AS at,
        ((n - 1) * 10 / 11 + 1) % {turns} <> {together} AS is_of_run,
        CASE WHEN n % 11 <> 2 THEN 'oncall.page@/events/page'
            WHEN n % 5500 = 2 THEN '{rare_listener}'
            ELSE 'subscription:' || CAST(10 + n % 990 AS text) END AS listener,
        CASE WHEN n > :old THEN 'delivered' WHEN n % 10 = 0 THEN 'dead' WHEN n % 40 = 1 THEN 'waiting'
            ELSE 'delivered' END AS status
    FROM given
) AS made
"""
_ATTEMPTS = """
INSERT INTO attempts (delivery_ref, number, started_at, ended_at, result, error, status)
SELECT ref, attempts, created_at, created_at, CASE WHEN status = 'delivered' THEN 'delivered' ELSE 'failed' END, error,
    CASE WHEN status = 'delivered' THEN 200 ELSE 503 END
FROM deliveries WHERE ref BETWEEN :first AND :last
"""
_SERIES = """
INSERT INTO series (key, last_count, last_at)
SELECT series, max(count), max(created_at) FROM deliveries WHERE series IS NOT NULL GROUP BY series
"""


@dataclass(frozen=True)
class EventLog:
    """What there is in a database.

    Args:
        events: their number.
        began: the time of the first one; they are spread evenly over ``DAYS`` until now.
    """

    events: int
    began: datetime

    @property
    def deliveries(self) -> int:
        """Their number."""
        return self.events * 11 // 10

    def subject(self, share: float) -> str:
        """The subject of a run at that share of the events."""
        event = int(self.events * share) // (_TOGETHER + 1) * (_TOGETHER + 1)
        run = event // ((_TOGETHER + 1) * EVENTS_OF_RUN) * _TOGETHER
        return f"ADM-{run % 400}/{run}"

    def time(self, share: float) -> datetime:
        """The time at which that share of the events had come."""
        return self.began + share * timedelta(days=DAYS)


def fill(database: Database, number: int) -> EventLog:
    """Make events with their deliveries; on PostgreSQL, vacuum the tables as it does by itself in time."""
    log = EventLog(number, datetime.now(UTC) - timedelta(days=DAYS))
    kind = "sqlite" if database.is_sqlite else "postgresql"
    names = {"rare_source": RARE_SOURCE, "rare_error": RARE_ERROR, "rare_listener": RARE_LISTENER}
    turns = _TOGETHER + 1
    sizes = {"together": _TOGETHER, "turns": turns, "of_run": EVENTS_OF_RUN, "shards": 1 if database.is_sqlite else 32}

    def written(statement: str, event: str) -> str:
        run = f"({event} / {turns * EVENTS_OF_RUN} * {_TOGETHER} + {event} % {turns})"
        time = _TIME[kind].format(number=event)
        of_event = _TIME[kind].format(number="((n - 1) * 10 / 11 + 1)")
        return statement.format(numbers=_NUMBERS[kind], time=time, time_of_event=of_event, run=run, **names, **sizes)

    values = {
        "began": log.began.timestamp(),
        "seconds": DAYS * 86400 / number,
        "body": events.encoded(events.small()).encode(),
        "old": log.deliveries // 5,
    }
    for first in range(1, number + 1, _AT_ONCE):
        last = min(first + _AT_ONCE - 1, number)
        of_deliveries = {"first": (first - 1) * 11 // 10 + 1, "last": last * 11 // 10}
        with database.engine.begin() as connection:
            _without_limit(connection)
            connection.execute(text(written(_EVENTS, "n")), {**values, "first": first, "last": last})
            connection.execute(text(written(_DELIVERIES, "event_ref")), {**values, **of_deliveries})
            connection.execute(text(_ATTEMPTS), of_deliveries)
    with database.engine.begin() as connection:
        _without_limit(connection)
        connection.execute(text(_SERIES))
        if not database.is_sqlite:
            for table in ("events", "deliveries"):
                connection.execute(
                    text(f"SELECT setval(pg_get_serial_sequence('{table}', 'ref'), max(ref)) FROM {table}")
                )
    if not database.is_sqlite:
        with psycopg.connect(
            database.url.set(drivername="postgresql").render_as_string(False), autocommit=True
        ) as plain:
            plain.execute("VACUUM (ANALYZE)")
    return log


def _without_limit(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SET LOCAL statement_timeout = 0"))
