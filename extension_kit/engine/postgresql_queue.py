"""PostgreSQL queue: the statements of the queue that PostgreSQL needs in a form of its own.

Rows that another transaction has locked, to retry or discard deliveries by hand, are skipped: a later look finds them.
"""

# ruff: noqa: S608 (only constants are put into statements)

from collections import Counter
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from extension_kit.deliveries.claims import Claim
from extension_kit.deliveries.tables import BEHIND, CLAIMED, LATER, READY, WAITING
from extension_kit.engine.candidates import Candidate, Follower, Line, by_listener
from extension_kit.engine.queue import Queue, as_claim

_AT_ONCE = 256  # deliveries whose time has come, in one transaction
_FEW = 4  # deliveries of each shard that are looked at, at least


class PostgresqlQueue(Queue):
    """The waiting deliveries of a PostgreSQL database, in the shards of one worker."""

    def __init__(self) -> None:
        super().__init__(is_sqlite=False)

    def set_aside(self, connection: Connection, refs: Collection[int], stage: str) -> None:
        """Set the stage of ready deliveries that cannot be claimed."""
        _execute(connection, _SET_ASIDE, (stage, list(refs)))

    def wake(self, connection: Connection, shards: Sequence[int], now: datetime) -> None:
        """Make deliveries ready that have become due."""
        _execute(connection, _WAKE, (list(shards), now))

    def next_due(self, connection: Connection, shards: Sequence[int]) -> datetime | None:
        """Return the earliest time of a delivery that waits for its time; None without any."""
        due: datetime | None = _execute(connection, _NEXT_DUE, (list(shards),)).fetchone()[0]
        return due

    def all_candidates(
        self, connection: Connection, shards: Sequence[int], limit: int
    ) -> dict[str, list[Candidate]] | None:
        """Return all ready deliveries, by listener and number; None if all workers together have ``limit`` or more."""
        rows = _execute(connection, _ALL_CANDIDATES, (limit,)).fetchall()
        mine = set(shards)
        return by_listener(row for shard, *row in rows if shard in mine) if len(rows) < limit else None

    def listeners(
        self, connection: Connection, shards: Sequence[int], after: str, limit: int, but: Collection[str] = ()
    ) -> tuple[list[str], str]:
        """Return listeners with ready deliveries, those after ``after``, and the name after which there may be more."""
        rows = _execute(connection, _LISTENERS, (after, list(but), limit, list(shards))).fetchall()
        return [listener for listener, is_mine in rows if is_mine], rows[-1][0] if len(rows) == limit else ""

    def candidates(
        self, connection: Connection, shards: Sequence[int], listener: str, limit: int
    ) -> tuple[list[Candidate], bool]:
        """Return the oldest ready deliveries of a listener, by number, and True if these are all."""
        some = max(_FEW, -(-limit // max(len(shards), 1)))
        rows = _execute(connection, _CANDIDATES, (list(shards), listener, some, limit)).fetchall()
        most = max(Counter(shard for shard, *_ in rows).values(), default=0)
        return [Candidate(*row) for _, *row in rows], len(rows) < limit and most < some

    def followers(self, connection: Connection, lines: Sequence[Line]) -> dict[str, list[Follower]]:
        """Return the waiting deliveries of lines, by lock and number."""
        found: dict[str, list[Follower]] = {line.lock: [] for line in lines}
        columns = [list(column) for column in zip(*lines, strict=True)]
        for row in _execute(connection, _FOLLOWERS, columns):
            found[row[1]].append(Follower(*row))
        return found

    def hold(self, connection: Connection, refs: Collection[int]) -> set[int]:
        """Lock waiting deliveries that are not claimed against others until the end of the transaction."""
        return {ref for (ref,) in _execute(connection, _HOLD, (list(refs),))}

    def claim(self, connection: Connection, refs: Collection[int], now: datetime) -> list[Claim]:
        """Claim deliveries that are ready or behind; return those that were claimed, with their events, by number."""
        return [as_claim(row) for row in _execute(connection, _CLAIM, (list(refs), now))]


def _execute(connection: Connection, statement: str, values: Sequence[Any]) -> Any:
    driver: Any = connection.connection.driver_connection
    return driver.execute(statement, values)


_SET_ASIDE = f"""
UPDATE deliveries SET stage = %s WHERE ref IN (
    SELECT ref FROM deliveries WHERE stage = '{READY}' AND ref = ANY(%s) ORDER BY ref FOR UPDATE SKIP LOCKED
)
"""
_WAKE = f"""
UPDATE deliveries SET stage = '{READY}' WHERE ref IN (
    SELECT ref FROM deliveries WHERE stage = '{LATER}' AND shard = ANY(%s) AND due_at <= %s LIMIT {_AT_ONCE}
    FOR UPDATE SKIP LOCKED
)
"""
_NEXT_DUE = f"""
SELECT min(first.due_at) FROM unnest(%s::integer[]) AS mine (shard) CROSS JOIN LATERAL (
    SELECT due_at FROM deliveries WHERE stage = '{LATER}' AND shard = mine.shard ORDER BY due_at LIMIT 1
) AS first
"""
_LISTENERS = f"""
WITH RECURSIVE found (listener) AS (
    SELECT (SELECT listener FROM deliveries WHERE stage = '{READY}' AND listener > %s::text COLLATE "C"
        ORDER BY listener LIMIT 1)
    UNION ALL
    SELECT (SELECT next.listener FROM deliveries AS next WHERE stage = '{READY}' AND next.listener > found.listener
        ORDER BY next.listener LIMIT 1)
    FROM found WHERE found.listener IS NOT NULL
), named AS MATERIALIZED (
    SELECT listener FROM found WHERE listener IS NOT NULL AND listener <> ALL(%s::text[]) LIMIT %s
)
SELECT listener, EXISTS (
    SELECT FROM deliveries AS mine
    WHERE mine.stage = '{READY}' AND mine.listener = named.listener AND mine.shard = ANY(%s)
) FROM named
"""
_SIZE = "(SELECT octet_length(body) FROM events WHERE events.ref = one.event_ref)"
_CANDIDATE = f"""
one.ref, one.lock, one.losses, {_SIZE}, CASE WHEN one.lock IS NULL THEN one.ref ELSE (
    SELECT head.ref FROM deliveries AS head WHERE head.lock = one.lock AND head.status = '{WAITING}'
    ORDER BY head.ref LIMIT 1
) END
"""
_CANDIDATES = f"""
SELECT mine.shard, {_CANDIDATE} FROM unnest(%s::integer[]) AS mine (shard) CROSS JOIN LATERAL (
    SELECT ref, event_ref, lock, losses FROM deliveries
    WHERE stage = '{READY}' AND listener = %s AND deliveries.shard = mine.shard ORDER BY ref LIMIT %s
) AS one
ORDER BY one.ref LIMIT %s
"""
_ALL_CANDIDATES = f"""
SELECT one.shard, one.listener, {_CANDIDATE} FROM (
    SELECT ref, event_ref, listener, shard, lock, losses FROM deliveries
    WHERE stage = '{READY}' ORDER BY listener, shard, ref LIMIT %s
) AS one
ORDER BY one.ref
"""
_FOLLOWERS = f"""
SELECT one.ref, one.lock, one.stage <> '{LATER}', one.losses, {_SIZE}
FROM unnest(%s::text[], %s::bigint[], %s::integer[]) AS line (lock, after, number) CROSS JOIN LATERAL (
    SELECT ref, event_ref, lock, losses, stage FROM deliveries
    WHERE status = '{WAITING}' AND deliveries.lock = line.lock AND ref > line.after ORDER BY ref LIMIT line.number
) AS one
ORDER BY one.ref
"""
_HOLD = f"""
SELECT ref FROM deliveries WHERE status = '{WAITING}' AND stage <> '{CLAIMED}' AND ref = ANY(%s) ORDER BY ref
FOR UPDATE SKIP LOCKED
"""
_CLAIM = f"""
WITH mine AS (
    SELECT ref FROM deliveries WHERE stage IN ('{READY}', '{BEHIND}') AND ref = ANY(%s) ORDER BY ref
    FOR UPDATE SKIP LOCKED
), claimed AS (
    UPDATE deliveries SET stage = '{CLAIMED}', claimed_at = %s FROM mine WHERE deliveries.ref = mine.ref
    RETURNING deliveries.*
)
SELECT one.ref, one.attempts, one.earlier, one.listener, one.created_at, events.name, events.event_id, events.body,
    events.source, events.time, events.subject, one.series, one.count, events.trace_context, one.lock, one.shard,
    one.losses, one.begun_at, one.error, one.claimed_at
FROM claimed AS one JOIN events ON events.ref = one.event_ref ORDER BY one.ref
"""
