"""Queue: the statements by which a worker claims waiting deliveries, and ends its claims; common to both stores."""

# ruff: noqa: S608 (only constants are put into statements)

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from extension_kit.deliveries.claims import Attempt, Claim, End
from extension_kit.deliveries.handler import Due
from extension_kit.deliveries.tables import CLAIMED, LATER, READY, WAITING, deliveries, events
from extension_kit.engine.candidates import Candidate, Follower, Line
from extension_kit.store.bulk_statement import BulkStatement
from extension_kit.store.lists import IsAnyOf
from extension_kit.store.prepared import PreparedStatement
from extension_kit.store.types import driver_time


class Queue(ABC):
    """The waiting deliveries of some shards. All methods work within the transaction of the connection."""

    def __init__(self, *, is_sqlite: bool) -> None:
        self._is_sqlite = is_sqlite

    def end(self, connection: Connection, ends: Sequence[End]) -> set[int]:
        """Write the ends of claims, and their attempts.

        Returns:
            The numbers of the deliveries with a claim that held; the others are unchanged.
        """
        rows = [self._end_row(end) for end in sorted(ends, key=lambda end: end.claim.due.ref)]
        if not self._is_sqlite:
            return {ref for (ref,) in _END_WITH_ATTEMPTS.execute(connection, rows)}
        held = {ref for (ref,) in _END.execute(connection, rows)}
        if made := [row for row in rows if row[0] in held and row[_NUMBER] is not None]:
            _ATTEMPTS.execute(connection, made)
        return held

    def release(self, connection: Connection, claims: Sequence[Claim], stage: str) -> None:
        """Give claims up: others may claim the deliveries, and no attempt was made."""
        rows = [(claim.due.ref, stage, self._time(claim.claimed_at)) for claim in claims]
        _RELEASE.execute(connection, rows)

    def restore(self, connection: Connection, claims: Sequence[Claim]) -> set[int]:
        """Write claims again that a crash of the database has taken back; return the deliveries that are claimed."""
        rows = [(claim.due.ref, self._time(claim.claimed_at), claim.due.number - 1) for claim in claims]
        return {ref for (ref,) in _RESTORE.execute(connection, rows)}

    def bring_back(self, connection: Connection, refs: Sequence[int], now: datetime) -> None:
        """Make deliveries due that wait for their time."""
        _BRING_BACK.execute(connection, [(ref, self._time(now)) for ref in refs])

    def claimed(self, connection: Connection, shards: Sequence[int], but: Collection[int] = ()) -> list[Claim]:
        """Return the claimed deliveries of shards, by number, except for some."""
        if not shards:
            return []
        driver: Any = connection.connection.driver_connection
        query = _CLAIMED_ON_SQLITE if self._is_sqlite else _CLAIMED_ON_POSTGRESQL
        refs = [ref for (ref,) in driver.execute(query, () if self._is_sqlite else (list(shards),)) if ref not in but]
        return self.load(connection, refs)

    def load(self, connection: Connection, refs: Sequence[int]) -> list[Claim]:
        """Return claimed deliveries with their events, by number."""
        return [as_claim(row) for row in _LOAD.all(connection, refs=list(refs))] if refs else []

    @abstractmethod
    def set_aside(self, connection: Connection, refs: Collection[int], stage: str) -> None:
        """Set the stage of ready deliveries that cannot be claimed: ``later`` or ``behind``."""

    @abstractmethod
    def wake(self, connection: Connection, shards: Sequence[int], now: datetime) -> None:
        """Make deliveries ready that have become due."""

    @abstractmethod
    def next_due(self, connection: Connection, shards: Sequence[int]) -> datetime | None:
        """Return the earliest time of a delivery that waits for its time; None without any."""

    @abstractmethod
    def all_candidates(
        self, connection: Connection, shards: Sequence[int], limit: int
    ) -> dict[str, list[Candidate]] | None:
        """Return all ready deliveries, by listener and number; None if all workers together have ``limit`` or more.

        One statement instead of one for the listeners and one for each of them.
        """

    @abstractmethod
    def listeners(
        self, connection: Connection, shards: Sequence[int], after: str, limit: int, but: Collection[str] = ()
    ) -> tuple[list[str], str]:
        """Return listeners with ready deliveries, in the order of their names, those after ``after``, without ``but``.

        Returns:
            The listeners, and the name after which there may be more; ``""`` if there are no more.
        """

    @abstractmethod
    def candidates(
        self, connection: Connection, shards: Sequence[int], listener: str, limit: int
    ) -> tuple[list[Candidate], bool]:
        """Return the oldest ready deliveries of a listener, by number, and True if these are all."""

    @abstractmethod
    def followers(self, connection: Connection, lines: Sequence[Line]) -> dict[str, list[Follower]]:
        """Return the waiting deliveries of lines, by lock and number."""

    @abstractmethod
    def hold(self, connection: Connection, refs: Collection[int]) -> set[int]:
        """Lock waiting deliveries that are not claimed against others until the end of the transaction.

        Returns:
            Those that were locked.
        """

    @abstractmethod
    def claim(self, connection: Connection, refs: Collection[int], now: datetime) -> list[Claim]:
        """Claim deliveries that are ready or behind; return those that were claimed, with their events, by number."""

    def _time(self, time: datetime | None) -> str | datetime | None:
        return time and driver_time(time, is_sqlite=self._is_sqlite)

    def _end_row(self, end: End) -> tuple[Any, ...]:
        due, attempt, is_over = end.claim.due, end.attempt, end.status != WAITING
        stage = None if is_over else READY if end.due_at is None or end.due_at <= end.at else LATER
        return (
            due.ref,
            self._time(end.claim.claimed_at),
            end.status,
            stage,
            due.number if attempt else due.number - 1,
            due.uncounted_attempts + (attempt is not None and not end.counts),
            self._time(end.due_at),
            self._time(attempt.started_at if attempt else end.at) if end.begins else None,
            self._time(end.at) if is_over else None,
            end.error,
            end.losses,
            *(self._attempt_values(due.number, attempt) if attempt else _NO_ATTEMPT),
        )

    def _attempt_values(self, number: int, attempt: Attempt) -> tuple[Any, ...]:
        said = (attempt.outcome.status, attempt.outcome.excerpt) if attempt.outcome else (None, None)
        times = self._time(attempt.started_at), self._time(attempt.ended_at)
        return number, *times, attempt.result, attempt.error, *said


def as_claim(row: Sequence[Any]) -> Claim:
    """Return a claim from a row that the stores' queues select."""
    ref, attempts, uncounted, listener, *event, lock, shard, losses, first_attempt_at, error, claimed_at = row
    due = Due(ref, attempts + 1, uncounted, listener, *event)
    return Claim(due, lock, shard, claimed_at, losses, first_attempt_at, error)


_GIVEN = {
    "ref": "bigint",
    "claimed_at": "timestamptz",
    "status": "text",
    "stage": "text",
    "attempts": "integer",
    "earlier": "integer",
    "due_at": "timestamptz",
    "begun_at": "timestamptz",
    "ended_at": "timestamptz",
    "error": "text",
    "losses": "integer",
    "number": "integer",
    "attempt_started_at": "timestamptz",
    "attempt_ended_at": "timestamptz",
    "attempt_result": "text",
    "attempt_error": "text",
    "attempt_status": "integer",
    "attempt_excerpt": "text",
}
_NUMBER = list(_GIVEN).index("number")
_NO_ATTEMPT = (None,) * (len(_GIVEN) - _NUMBER)
_END_FROM = f"""
    UPDATE deliveries SET status = given.status, stage = given.stage, attempts = given.attempts,
        earlier = given.earlier, due_at = coalesce(given.due_at, deliveries.due_at),
        begun_at = coalesce(deliveries.begun_at, given.begun_at), ended_at = given.ended_at, error = given.error,
        losses = given.losses, claimed_at = NULL
    FROM {{source}}
    WHERE deliveries.ref = given.ref AND deliveries.stage = '{CLAIMED}' AND deliveries.claimed_at = given.claimed_at
    RETURNING deliveries.ref
"""
_ADD_FROM = """
    INSERT INTO attempts (delivery_ref, number, started_at, ended_at, result, error, status, excerpt)
    SELECT ref, number, attempt_started_at, attempt_ended_at, attempt_result, attempt_error, attempt_status,
        attempt_excerpt
    FROM {source} WHERE number IS NOT NULL ON CONFLICT (delivery_ref, number) DO NOTHING
"""
_END = BulkStatement(_END_FROM.format(source="{given}"), _GIVEN)
_ATTEMPTS = BulkStatement(_ADD_FROM.format(source="{given}"), _GIVEN)
_END_WITH_ATTEMPTS = BulkStatement(
    f"""
    WITH given AS MATERIALIZED (SELECT * FROM {{given}}), ended AS ({_END_FROM.format(source="given")}),
    added AS ({_ADD_FROM.format(source="given JOIN ended USING (ref)")})
    SELECT ref FROM ended
    """,
    _GIVEN,
)
_RELEASE = BulkStatement(
    f"""
    UPDATE deliveries SET stage = given.stage, claimed_at = NULL FROM {{given}}
    WHERE deliveries.ref = given.ref AND deliveries.stage = '{CLAIMED}' AND deliveries.claimed_at = given.claimed_at
    """,
    {"ref": "bigint", "stage": "text", "claimed_at": "timestamptz"},
)
_RESTORE = BulkStatement(
    f"""
    UPDATE deliveries SET stage = '{CLAIMED}', claimed_at = given.claimed_at FROM {{given}}
    WHERE deliveries.ref = given.ref AND deliveries.status = '{WAITING}' AND deliveries.attempts = given.attempts
        AND (deliveries.stage <> '{CLAIMED}' OR deliveries.claimed_at = given.claimed_at)
    RETURNING deliveries.ref
    """,
    {"ref": "bigint", "claimed_at": "timestamptz", "attempts": "integer"},
)
_BRING_BACK = BulkStatement(
    f"""
    UPDATE deliveries SET stage = '{READY}', due_at = given.due_at FROM {{given}}
    WHERE deliveries.ref = given.ref AND deliveries.stage = '{LATER}'
    """,
    {"ref": "bigint", "due_at": "timestamptz"},
)

_OF_EVENT = (events.c.name, events.c.event_id, events.c.body, events.c.source, events.c.time, events.c.subject)
_d = deliveries.c
_COLUMNS = (
    _d.ref,
    _d.attempts,
    _d.uncounted_attempts,
    _d.listener,
    _d.created_at,
    *_OF_EVENT,
    _d.series,
    _d.place,
    events.c.trace_context,
    _d.lock,
    _d.shard,
    _d.losses,
    _d.first_attempt_at,
    _d.error,
)
_FOUND = IsAnyOf(_d.ref, "refs")
_LOAD = PreparedStatement(
    select(*_COLUMNS, _d.claimed_at).select_from(deliveries.join(events)).where(_FOUND).order_by(_d.ref)
)
_CLAIMED_ON_SQLITE = f"SELECT ref FROM deliveries WHERE stage = '{CLAIMED}'"
_CLAIMED_ON_POSTGRESQL = f"{_CLAIMED_ON_SQLITE} AND shard = ANY(%s)"
