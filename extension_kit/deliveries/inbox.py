"""Inbox: holds events from their answer until a worker files them with their places in a series and their deliveries.

Filing an event takes several statements for several tables. Accepting one is a single row for all events that arrive
together, and on SQLite waits for no transaction of a worker, because the inbox has a file of its own.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import orjson
from sqlalchemy import Connection, delete, insert, select, text

from extension_kit.deliveries.bell import Bell
from extension_kit.deliveries.inbox_rows import Head, Unfiled, count_events, head_of
from extension_kit.deliveries.inbox_tables import inbox, inbox_steps, metadata
from extension_kit.deliveries.notify import INBOX_CHANNEL
from extension_kit.deliveries.tables import bounded
from extension_kit.store.database import Database
from extension_kit.store.errors import refusals
from extension_kit.store.types import driver_time
from extension_kit.store.upsert import upsert

_MOST_BYTES = 1024 * 1024  # of bodies in a row, unless one body is larger

# Of the space that has to be left. Filing an event takes room before it gives some back, and makes do with one share.
_SHARE, _SHARE_AHEAD = 2.0, 2.5

_VACUUM_PAGES = 2000


class Accepted(NamedTuple):
    """An event that an agent has sent.

    Attributes:
        body: as it was sent.
        listeners: keys of its durable listeners.
        step: the run and the step that it starts, if immediate listeners may ask for it.
        trace_context: in which it was received, as the table of events has it.
    """

    body: bytes
    listeners: tuple[str, ...]
    step: tuple[str, str] | None = None
    trace_context: str | None = None


class Inbox:
    """The inbox of a database.

    Args:
        database: the events are filed in it.
        keeps_traces: True keeps the trace contexts of events.
    """

    def __init__(self, database: Database, *, keeps_traces: bool = False) -> None:
        self._heads = _heads_with_traces if keeps_traces else _heads
        self.has_own_file = database.is_sqlite
        """True on SQLite, where a transaction of the inbox is none of the database."""
        self._bell: Bell | None = None
        if database.is_sqlite:
            path = database.path.with_name(f"{database.path.name}-inbox")
            url = database.url.set(database=str(path)).render_as_string(hide_password=False)
            database = Database(url, flush=database.flush, timeout=database.timeout)
            self._bell = Bell(path)
        self.database = database
        """The database with the tables of the inbox."""

    def prepare(self) -> None:
        """Make the file on SQLite, unless it exists; PostgreSQL's tables are made by ``migrate.upgrade``.

        Raises:
            StoreError: the file cannot be made.
        """
        if self.has_own_file:
            self.database.create()
            with self.database.transaction() as connection:
                metadata.create_all(connection)

    @property
    def exists(self) -> bool:
        """True unless the file of SQLite is missing."""
        return not self.has_own_file or self.database.path.exists()

    def append(self, items: Sequence[Accepted]) -> None:
        """Commit events, and tell the worker.

        Raises:
            StoreError: the inbox cannot be written; nothing was committed.
        """
        now = datetime.now(UTC)
        size = sum([len(item.body) for item in items])
        has_steps = any(item.step is not None for item in items)
        if size <= _MOST_BYTES and not has_steps and self.database.has_plenty_of_room():
            moment = driver_time(now, is_sqlite=self.has_own_file)
            statement = _APPEND_SQLITE if self.has_own_file else _APPEND_POSTGRESQL
            with refusals(self.database.name):
                self.database.execute_alone(statement, (moment, len(items), *self._contents(items)))
        else:
            self._append_in_rows(items, size, now)
        self.ring()

    def _append_in_rows(self, items: Sequence[Accepted], size: int, now: datetime) -> None:
        with refusals(self.database.name), self.database.transaction() as connection:
            self.database.check_room(connection, size, share=_SHARE)
            for row in _rows(items):
                heads, bodies = self._contents(row)
                values = {"received_at": now, "events": len(row), "heads": heads, "bodies": bodies}
                (ref,) = connection.execute(insert(inbox).values(values)).inserted_primary_key or (0,)
                self._remember_steps(connection, ref, row)
            if not self.has_own_file:
                connection.execute(_NOTIFY)

    def _contents(self, row: Sequence[Accepted]) -> tuple[str, bytes]:
        """Return the heads and the bodies of a row."""
        return orjson.dumps(self._heads(row)).decode(), b"".join([item.body for item in row])

    def _remember_steps(self, connection: Connection, ref: int, row: Sequence[Accepted]) -> None:
        for item in row:
            if item.step is not None:
                run, step_id = map(bounded, item.step)
                values = {"run": run, "step_id": step_id, "body": item.body, "inbox_ref": ref}
                upsert(connection, inbox_steps, values, update=("body", "inbox_ref"))

    def check_writable(self) -> None:
        """Check that events can be appended. The commit changes nothing, and waits for the disk as every commit does.

        Raises:
            StoreError: events cannot be appended.
        """
        with refusals(self.database.name), self.database.transaction() as connection:
            if not self.has_own_file:
                self.database.rewrite_version(connection)
            self.database.check_room(connection, share=_SHARE_AHEAD)
            values = {"received_at": datetime.now(UTC), "events": 0, "heads": "[]", "bodies": b""}
            (ref,) = connection.execute(insert(inbox).values(values)).inserted_primary_key or (None,)
            connection.execute(delete(inbox).where(inbox.c.ref == ref))

    def unfiled(self) -> Unfiled:
        """Count the events that are not filed yet.

        Raises:
            StoreError: the inbox cannot be read.
        """
        if not self.exists:
            return Unfiled(0, None)
        with self.database.read() as connection:
            return count_events(connection)

    def find_step(self, run: str, step_id: str) -> bytes | None:
        """Find the event, not filed yet, that started a step.

        Raises:
            StoreError: the inbox cannot be read.
        """
        steps = inbox_steps.c
        with self.database.read() as connection:
            found: bytes | None = connection.execute(
                select(steps.body).where(steps.run == bounded(run), steps.step_id == bounded(step_id))
            ).scalar()
        return found

    def ring(self) -> None:
        """Tell the worker on SQLite of new events; on PostgreSQL the statement that appends them has."""
        if self._bell is not None:
            self._bell.ring()

    @property
    def bell(self) -> Bell | None:
        """Rings for new events; None on PostgreSQL, which notifies."""
        return self._bell

    def close(self) -> None:
        """Close the connections to a file of its own, and the bell."""
        if self._bell is not None:
            self._bell.close()
            self.database.dispose()

    def give_back(self, keep: int = 0) -> None:
        """Give some of the space of removed events back to the file system, on SQLite.

        Args:
            keep: size of the file in bytes up to which nothing is done.

        Raises:
            StoreError: the inbox cannot be written.
        """
        if self.has_own_file and self.exists and self.database.path.stat().st_size > keep:
            self.database.shrink_log()
            self.database.vacuum(_VACUUM_PAGES)
            self.database.shrink_log()

    def remove_file(self) -> None:
        """Remove the file on SQLite, in which no event may be left, and close it before."""
        self.close()
        if self.has_own_file:
            for ending in ("", "-wal", "-shm"):
                Path(f"{self.database.path}{ending}").unlink(missing_ok=True)


def _rows(items: Sequence[Accepted]) -> Iterator[Sequence[Accepted]]:
    """Divide events among rows of a limited size; most often one."""
    start = bytes = 0
    for end, item in enumerate(items):
        if end > start and bytes + len(item.body) > _MOST_BYTES:
            yield items[start:end]
            start, bytes = end, 0
        bytes += len(item.body)
    yield items[start:]


def _heads(row: Sequence[Accepted]) -> list[Head]:
    return [(len(item.body), item.listeners) for item in row]


def _heads_with_traces(row: Sequence[Accepted]) -> list[Head]:
    return [head_of(len(item.body), item.listeners, item.trace_context) for item in row]


_APPEND_SQLITE = "INSERT INTO inbox (received_at, events, heads, bodies) VALUES (?, ?, ?, ?)"
_APPEND_POSTGRESQL = f"""
WITH added AS (INSERT INTO inbox (received_at, events, heads, bodies) VALUES (%s, %s, %s, %b) RETURNING ref)
SELECT pg_notify('{INBOX_CHANNEL}', '') FROM added
"""  # noqa: S608 (only a name of ours)
_NOTIFY = text(f"NOTIFY {INBOX_CHANNEL}")
