"""Filing: moves the events of the inbox to the tables of events, with their places in a series and their deliveries.

An event is removed from the inbox after it was filed: on PostgreSQL in the same transaction, on SQLite, where the inbox
is another file, after a commit that has reached the disk. What is filed twice is known as a duplicate.
"""

import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime

from sqlalchemy import text

from extension_kit.deliveries.entries import Entry, entry_of
from extension_kit.deliveries.inbox import Inbox
from extension_kit.deliveries.inbox_rows import Group, add_group, oldest_groups, remove_groups
from extension_kit.deliveries.outbox import Outbox
from extension_kit.errors import NewerSchema, OlderSchema, StoreFull, StoreUnavailable
from extension_kit.events.event import Event
from extension_kit.observability import tracing
from extension_kit.store.database import Database

logger = logging.getLogger("extension_kit.deliveries")

# One process files at a time: two would wait for each other's rows. The server ends the session of one that stands
# still, so that another can go on.
_TRY_LOCK = text(
    "SELECT pg_try_advisory_xact_lock('inbox'::regclass::oid::bigint), "
    "set_config('idle_in_transaction_session_timeout', '5s', true)"
)

_UNUSABLE = (StoreUnavailable, OlderSchema, NewerSchema)  # whatever the events are

_KEPT = 64 * 1024**2  # bytes of the file of an empty inbox, for the next events


class Filing:
    """Files the events of an inbox, in the order in which they were committed.

    Args:
        inbox: has the events.
        outbox: files them.
        database: of the outbox. Its commits have to wait for the disk if the inbox has its own file.
    """

    def __init__(self, inbox: Inbox, outbox: Outbox, database: Database) -> None:
        self.inbox = inbox
        self.is_elsewhere = False
        """True if another process filed events at the last try."""
        self._outbox = outbox
        self._database = database

    def file_all(self) -> int:
        """File all events that are due, and return their number.

        Raises:
            StoreError: the database cannot be used; events filed before stay filed.
        """
        number = 0
        while filed := self.file_some():
            number += filed
        return number

    def file_some(self) -> int:
        """File the oldest events, and return their number: 0 if there are none, or another process files them.

        Events that cannot be filed although the database works are set aside, and filed again later.

        Raises:
            StoreError: the database cannot be used; nothing was filed.
        """
        return self._file_from_file() if self.inbox.has_own_file else self._file_within()

    def close(self) -> None:
        """Close the connections to the inbox; they can be used again."""
        self.inbox.close()

    def _file_from_file(self) -> int:
        with self.inbox.database.read() as connection:
            groups = oldest_groups(connection, datetime.now(UTC))
        if not groups:
            self.inbox.give_back(_KEPT)
            return 0
        try:
            self._record(groups)
        except StoreFull:
            with suppress(StoreFull):
                self._database.shrink_log()
                self.inbox.give_back()
            groups = groups[:1]
            self._record(groups)
        except _UNUSABLE:
            raise
        except Exception:
            return self._file_one_by_one(groups)
        with self.inbox.database.transaction() as connection:
            remove_groups(connection, groups)
        return _number(groups)

    def _record(self, groups: Sequence[Group]) -> None:
        started, entries = time.time_ns(), _entries(groups)
        self._outbox.record(entries)
        _trace(entries, started)

    def _file_within(self) -> int:
        groups: Sequence[Group] = ()
        entries: Sequence[Entry] = ()
        started = time.time_ns()
        try:
            with self._database.transaction() as connection:
                self.is_elsewhere = not connection.execute(_TRY_LOCK).scalar_one()
                if self.is_elsewhere:
                    return 0
                groups = oldest_groups(connection, datetime.now(UTC))
                if groups:
                    entries = _entries(groups)
                    self._outbox.write(connection, entries)
                    remove_groups(connection, groups)
        except _UNUSABLE:
            raise
        except Exception:
            if not groups:
                raise
            return self._file_one_by_one(groups)
        _trace(entries, started)
        return _number(groups)

    def _file_one_by_one(self, groups: Sequence[Group]) -> int:
        """File each event by itself, so that one that cannot be filed holds up no other."""
        left: list[Group] = []
        for group in groups:
            failed = []
            for event in group.events:
                try:
                    self._record([group._replace(events=[event])])
                except _UNUSABLE:
                    raise
                except Exception:
                    logger.exception("Event in row %d of the inbox cannot be filed, again in a minute", group.ref)
                    failed.append(event)
            if failed:
                left.append(group._replace(events=failed))
        with self.inbox.database.transaction() as connection:
            removed = remove_groups(connection, groups)
            for group in left:
                if group.ref in removed:  # else another process has set it aside
                    add_group(connection, group, set_aside_at=datetime.now(UTC))
        return _number(groups)


def _entries(groups: Sequence[Group]) -> list[Entry]:
    return [
        entry_of(Event.from_body(body), listeners, group.received_at, trace_context)
        for group in groups
        for body, listeners, trace_context in group.events
    ]


def _trace(entries: Sequence[Entry], started: int) -> None:
    """Make the spans of events that were filed, since a time in nanoseconds since 1970."""
    if tracing.spans is None:
        return
    ended = time.time_ns()
    for entry in entries:
        if entry.trace_context:
            tracing.spans.file(entry.trace_context, entry.name, entry.event_id, started, ended)


def _number(groups: Sequence[Group]) -> int:
    return sum(len(group.events) for group in groups)
