"""SQLite queue: the statements of the queue that SQLite needs in a form of its own. It has one shard."""

# ruff: noqa: S608 (only constants are put into statements)

import json
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from extension_kit.deliveries.claims import Claim
from extension_kit.deliveries.tables import BEHIND, CLAIMED, LATER, READY, WAITING
from extension_kit.engine.candidates import Candidate, Follower, Line, by_listener
from extension_kit.engine.queue import Queue
from extension_kit.store.types import from_driver_time

_AT_ONCE = 256  # deliveries whose time has come, in one transaction


class SqliteQueue(Queue):
    """The waiting deliveries of a SQLite database."""

    def __init__(self) -> None:
        super().__init__(is_sqlite=True)

    def set_aside(self, connection: Connection, refs: Collection[int], stage: str) -> None:
        """Set the stage of ready deliveries that cannot be claimed."""
        _driver(connection).execute(_SET_ASIDE, (stage, json.dumps(list(refs))))

    def wake(self, connection: Connection, shards: Sequence[int], now: datetime) -> None:
        """Make deliveries ready that have become due."""
        _driver(connection).execute(_WAKE, (self._time(now),))

    def next_due(self, connection: Connection, shards: Sequence[int]) -> datetime | None:
        """Return the earliest time of a delivery that waits for its time; None without any."""
        row = _driver(connection).execute(_NEXT_DUE).fetchone()
        return from_driver_time(row[0]) if row else None

    def all_candidates(
        self, connection: Connection, shards: Sequence[int], limit: int
    ) -> dict[str, list[Candidate]] | None:
        """Return all ready deliveries, by listener and number; None if there are ``limit`` or more."""
        rows = _driver(connection).execute(_ALL_CANDIDATES, (limit,)).fetchall()
        return by_listener(rows) if len(rows) < limit else None

    def listeners(
        self, connection: Connection, shards: Sequence[int], after: str, limit: int, but: Collection[str] = ()
    ) -> tuple[list[str], str]:
        """Return listeners with ready deliveries, those after ``after``, and the name after which there may be more."""
        rows = _driver(connection).execute(_LISTENERS, (after, json.dumps(list(but)), limit))
        found = [listener for (listener,) in rows]
        return found, found[-1] if len(found) == limit else ""

    def candidates(
        self, connection: Connection, shards: Sequence[int], listener: str, limit: int
    ) -> tuple[list[Candidate], bool]:
        """Return the oldest ready deliveries of a listener, by number, and True if these are all."""
        rows = _driver(connection).execute(_CANDIDATES, (listener, limit)).fetchall()
        return [Candidate(*row) for row in rows], len(rows) < limit

    def followers(self, connection: Connection, lines: Sequence[Line]) -> dict[str, list[Follower]]:
        """Return the waiting deliveries of lines, by lock and number."""
        driver = _driver(connection)
        return {line.lock: [Follower(*row) for row in driver.execute(_FOLLOWERS, line)] for line in lines}

    def hold(self, connection: Connection, refs: Collection[int]) -> set[int]:
        """Return the waiting deliveries that are not claimed; the transaction excludes all others."""
        return {ref for (ref,) in _driver(connection).execute(_UNCLAIMED, (json.dumps(list(refs)),))}

    def claim(self, connection: Connection, refs: Collection[int], now: datetime) -> list[Claim]:
        """Claim deliveries that are ready or behind; return those that were claimed, with their events, by number."""
        claimed = _driver(connection).execute(_CLAIM, (self._time(now), json.dumps(list(refs)))).fetchall()
        return self.load(connection, [ref for (ref,) in claimed])


def _driver(connection: Connection) -> Any:
    return connection.connection.driver_connection


_SET_ASIDE = f"""
UPDATE deliveries SET stage = ? WHERE stage = '{READY}' AND ref IN (SELECT value FROM json_each(?))
"""
_WAKE = f"""
UPDATE deliveries SET stage = '{READY}' WHERE ref IN (
    SELECT ref FROM deliveries WHERE stage = '{LATER}' AND shard = 0 AND due_at <= ? ORDER BY due_at LIMIT {_AT_ONCE}
)
"""
_NEXT_DUE = f"SELECT due_at FROM deliveries WHERE stage = '{LATER}' AND shard = 0 ORDER BY due_at LIMIT 1"
_LISTENERS = f"""
WITH RECURSIVE found (listener) AS (
    SELECT (SELECT listener FROM deliveries WHERE stage = '{READY}' AND listener > ? ORDER BY listener LIMIT 1)
    UNION ALL
    SELECT (SELECT listener FROM deliveries WHERE stage = '{READY}' AND listener > found.listener
        ORDER BY listener LIMIT 1)
    FROM found WHERE found.listener IS NOT NULL
)
SELECT listener FROM found WHERE listener IS NOT NULL AND listener NOT IN (SELECT value FROM json_each(?)) LIMIT ?
"""
_SIZE = "(SELECT length(body) FROM events WHERE events.ref = deliveries.event_ref)"
_CANDIDATE = f"""
ref, lock, losses, {_SIZE}, CASE WHEN lock IS NULL THEN ref ELSE (
    SELECT head.ref FROM deliveries AS head WHERE head.lock = deliveries.lock AND head.status = '{WAITING}'
    ORDER BY head.ref LIMIT 1
) END
"""
_CANDIDATES = f"""
SELECT {_CANDIDATE} FROM deliveries WHERE stage = '{READY}' AND listener = ? AND shard = 0 ORDER BY ref LIMIT ?
"""
_ALL_CANDIDATES = f"""
SELECT listener, {_CANDIDATE} FROM deliveries WHERE stage = '{READY}' ORDER BY listener, shard, ref LIMIT ?
"""
_FOLLOWERS = f"""
SELECT ref, lock, stage <> '{LATER}', losses, {_SIZE} FROM deliveries
WHERE status = '{WAITING}' AND lock = ? AND ref > ? ORDER BY ref LIMIT ?
"""
_UNCLAIMED = f"""
SELECT ref FROM deliveries WHERE status = '{WAITING}' AND stage <> '{CLAIMED}'
AND ref IN (SELECT value FROM json_each(?))
"""
_CLAIM = f"""
UPDATE deliveries SET stage = '{CLAIMED}', claimed_at = ?
WHERE stage IN ('{READY}', '{BEHIND}') AND ref IN (SELECT value FROM json_each(?)) RETURNING ref
"""
