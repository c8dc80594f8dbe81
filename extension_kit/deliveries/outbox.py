"""Commits events, what is to be delivered of them, and the jobs for that, all together or not at all."""

from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, NamedTuple, Protocol

from sqlalchemy import Connection, select, tuple_

from extension_kit.deliveries.models import WAITING, deliveries, events, series
from extension_kit.deliveries.steps import remember_step
from extension_kit.errors import StoreError
from extension_kit.store.database import Database

_LONGEST = 255


class Entry(NamedTuple):
    """One event, and who wants it. ``step`` is the execution id of the step that it starts."""

    source: str
    event_id: str
    name: str
    subject: str | None
    time: datetime | None
    body: bytes
    series: str | None
    listeners: tuple[str, ...]
    step: str | None = None


class Job(NamedTuple):
    """What the engine is told of a delivery."""

    delivery_ref: int
    lock: str | None
    due_at: datetime | None


class Defer(Protocol):
    """What the outbox needs of the engine."""

    def defer(self, connection: Connection, jobs: Sequence[Job]) -> None:
        """Add jobs within the transaction of the connection."""


class _Key(NamedTuple):
    source: str
    event_id: str


class Outbox:
    """Writes entries.

    Statements are the driver's own, with rows as tuples, and refs are reserved before: this is half the price of
    accepting an event, and SQLAlchemy's way, which asks each row for its ref, costs three times as much.

    Args:
        database: where to.
        engine: what runs the deliveries.
    """

    def __init__(self, database: Database, engine: Defer) -> None:
        self._database = database
        self._engine = engine
        self._insert_event = self._insert(
            "events", "ref source event_id name subject time received_at body", "(source, event_id) DO NOTHING"
        )
        self._count = self._insert(
            "series",
            "key last_count last_at",
            "(key) DO UPDATE SET last_count = series.last_count + excluded.last_count, last_at = excluded.last_at",
        )
        self._insert_delivery = self._insert(
            "deliveries",
            "ref event_ref listener lock series count status attempts earlier created_at due_at",
            "(event_ref, listener) DO NOTHING",
        )

    def _insert(self, table: str, columns: str, conflict: str) -> str:
        names = columns.split()
        marks = ", ".join("?" if self._database.is_sqlite else "%s" for _ in names)
        quoted = ", ".join(f'"{name}"' for name in names)
        return f"INSERT INTO {table} ({quoted}) VALUES ({marks}) ON CONFLICT {conflict}"  # noqa: S608 (our own names)

    def record(self, entries: Sequence[Entry]) -> int:
        """Commit entries in one transaction.

        An event that is known by its source and id is not stored again, and what is to be delivered to a listener
        already is not delivered to it again; so an entry may be recorded any number of times, by any process.

        Returns:
            How many deliveries were added.

        Raises:
            StoreError: nothing of it was committed.
        """
        now = datetime.now(UTC)
        keys = [_Key(_bounded(entry.source), _bounded(entry.event_id)) for entry in entries]
        with self._database.transaction() as connection:
            refs, new = self._store_events(connection, entries, keys, now)
            for entry in entries:
                if entry.step and entry.series:
                    remember_step(connection, _bounded(entry.series), _bounded(entry.step), entry.body, now)
            counts = self._count_series(connection, entries, keys, new, now)
            jobs = self._store_deliveries(connection, entries, keys, refs, counts, now)
            if jobs:
                self._engine.defer(connection, jobs)
        return len(jobs)

    def is_writable(self) -> bool:
        """Whether entries could be recorded now."""
        try:
            self._database.check_writable()
        except StoreError:
            return False
        return True

    def _store_events(
        self, connection: Connection, entries: Sequence[Entry], keys: Sequence[_Key], now: datetime
    ) -> tuple[dict[_Key, int], set[_Key]]:
        """Store the events that are not known, and return the refs of all and which of them are new."""
        by_key = dict(zip(keys, entries, strict=True))
        refs = dict(zip(by_key, self._reserve(connection, "events", len(by_key)), strict=True))
        received = self._moment(now)
        rows = [
            (
                refs[key],
                *key,
                _bounded(entry.name),
                _bounded(entry.subject) if entry.subject else None,
                self._moment(entry.time),
                received,
                entry.body,
            )
            for key, entry in by_key.items()
        ]
        if connection.exec_driver_sql(self._insert_event, rows).rowcount == len(rows):
            return refs, set(refs)
        stored = select(events.c.ref, events.c.source, events.c.event_id)
        found = connection.execute(stored.where(tuple_(events.c.source, events.c.event_id).in_(list(by_key))))
        known = {_Key(source, event_id): ref for ref, source, event_id in found}
        return known, {key for key, ref in known.items() if refs[key] == ref}

    def _count_series(
        self,
        connection: Connection,
        entries: Sequence[Entry],
        keys: Sequence[_Key],
        new: set[_Key],
        now: datetime,
    ) -> dict[_Key, int]:
        """Give every new event of a series its place in it; the rows stay locked until the commit, in one order."""
        members: dict[str, dict[_Key, None]] = {}
        for key, entry in zip(keys, entries, strict=True):
            if entry.series and key in new:
                members.setdefault(_bounded(entry.series), {})[key] = None
        if not members:
            return {}
        counted = self._moment(now)
        connection.exec_driver_sql(self._count, [(name, len(members[name]), counted) for name in sorted(members)])
        last_counts = connection.execute(
            select(series.c.key, series.c.last_count).where(series.c.key.in_(list(members)))
        )
        return {
            key: last - len(members[name]) + place
            for name, last in last_counts
            for place, key in enumerate(members[name], 1)
        }

    def _store_deliveries(
        self,
        connection: Connection,
        entries: Sequence[Entry],
        keys: Sequence[_Key],
        refs: dict[_Key, int],
        counts: dict[_Key, int],
        now: datetime,
    ) -> list[Job]:
        """Store the deliveries that are not known, and return their jobs in the order of the events."""
        wanted = {
            (refs[key], listener): (key, _bounded(entry.series) if entry.series else None)
            for key, entry in zip(keys, entries, strict=True)
            for listener in entry.listeners
        }
        created = self._moment(now)
        jobs = []
        rows = []
        for ref, ((event_ref, listener), (key, name)) in zip(
            self._reserve(connection, "deliveries", len(wanted)), wanted.items(), strict=True
        ):
            lock = f"{listener}|{name}" if name else None
            jobs.append(Job(ref, lock, None))
            rows.append((ref, event_ref, listener, lock, name, counts.get(key), WAITING, 0, 0, created, created))
        if not rows or connection.exec_driver_sql(self._insert_delivery, rows).rowcount == len(rows):
            return jobs
        ours = deliveries.c.ref.in_([job.delivery_ref for job in jobs])
        added = set(connection.execute(select(deliveries.c.ref).where(ours)).scalars())
        return [job for job in jobs if job.delivery_ref in added]

    def _reserve(self, connection: Connection, table: str, number: int) -> Sequence[int]:
        """Take refs that nobody else will be given, in ascending order."""
        if not self._database.is_sqlite:
            sequence = "SELECT nextval(pg_get_serial_sequence(%s, 'ref')) FROM generate_series(1, %s)"
            return list(connection.exec_driver_sql(sequence, (table, number)).scalars())
        # Within a transaction that writes nobody else adds rows.
        last = connection.exec_driver_sql("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,)).scalar() or 0
        return range(last + 1, last + 1 + number)

    def _moment(self, time: datetime | None) -> Any:
        """A time as the driver wants it: SQLite keeps texts, in SQLAlchemy's format."""
        if time is None or not self._database.is_sqlite:
            return time
        return time.astimezone(UTC).isoformat(sep=" ", timespec="microseconds")[:26]


def _bounded(text: str) -> str:
    """Texts from outside are as long as their senders like, and may hold what PostgreSQL does not store in a text."""
    if len(text) <= _LONGEST and "\x00" not in text:
        return text
    return f"{text[:180]}#{blake2b(text.encode(), digest_size=32).hexdigest()}".replace("\x00", "\ufffd")
