"""State of deliveries: how the changes of an attempt reach the end of its delivery, and the deliveries behind it.

A worker writes the ends of many deliveries in one transaction, a few milliseconds after them. The next delivery of a
series begins earlier. Until the transaction has ended, it finds the changes here.
"""

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import NamedTuple

from sqlalchemy import Connection

from extension_kit.deliveries.claims import End
from extension_kit.deliveries.handler import Due
from extension_kit.deliveries.state_rows import (
    find_keys,
    find_sums,
    find_value,
    has_row,
    number_of_keys,
    write_additions,
    write_changes,
)
from extension_kit.deliveries.tables import bounded
from extension_kit.events.function_loop import FUNCTION_LOOP
from extension_kit.events.readable_state import is_in_loop
from extension_kit.events.state import State
from extension_kit.events.state_values import MAX_KEYS, Addition, Change, ChangedState, StateReader
from extension_kit.senders import Outcome
from extension_kit.store.database import Database

_COUNTED_FOR = 10.0  # seconds for which a number of keys is believed
_RECOUNT = 1.0  # the same for a number that leaves no room


@dataclass(frozen=True, slots=True)
class ChangedOutcome(Outcome):
    """The outcome of an attempt that has delivered its event and changed the state of its extension."""

    extension: str = ""
    changes: Mapping[str, Change] = field(default_factory=dict)
    additions: Mapping[str, Addition] = field(default_factory=dict)


def _changed(end: End) -> ChangedOutcome | None:
    """Return the outcome of an end that changes the state; None for others."""
    outcome = end.attempt and end.attempt.outcome
    return outcome if isinstance(outcome, ChangedOutcome) else None


def write_state(connection: Connection, ends: Iterable[End], held: set[int]) -> None:
    """Write the changes of ends, in their order, within the transaction that writes the ends.

    Args:
        connection: in the transaction.
        ends: the ends.
        held: numbers of the deliveries with a claim that held; the changes of others are dropped.
    """
    changed, added = [], []
    for end in ends:
        if (outcome := _changed(end)) is not None and end.claim.due.ref in held:
            extension = bounded(outcome.extension)
            changed += [(extension, key, change) for key, change in outcome.changes.items()]
            added += [(extension, key, addition) for key, addition in outcome.additions.items()]
    if changed:
        write_changes(connection, changed, datetime.now(UTC))
    if added:
        write_additions(connection, added, datetime.now(UTC))


class UnwrittenState:
    """Changes of ended deliveries that are not written yet, by series and listener; used by several threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._by_series: defaultdict[tuple[str, str], dict[str, Change]] = defaultdict(dict)

    def add(self, end: End) -> None:
        """Add the changes of an end, before the next delivery of its series begins."""
        due = end.claim.due
        if (outcome := _changed(end)) is not None and due.series is not None:
            with self._lock:
                self._by_series[due.listener, due.series].update(outcome.changes)

    def remove(self, ends: Iterable[End]) -> None:
        """Remove the changes of ends that were written, or will never be."""
        if not self._by_series:  # as nearly always
            return
        for end in ends:
            due = end.claim.due
            if (outcome := _changed(end)) is not None and due.series is not None:
                with self._lock:
                    self._remove((due.listener, due.series), outcome.changes)

    def find(self, due: Due) -> Mapping[str, Change]:
        """Return the changes of the deliveries before one in its series."""
        if due.series is None:
            return {}
        with self._lock:
            return dict(self._by_series.get((due.listener, due.series), ()))

    def _remove(self, place: tuple[str, str], changes: Mapping[str, Change]) -> None:
        unwritten = self._by_series.get(place, {})
        for key, change in changes.items():
            if unwritten.get(key) is change:  # else a later delivery has changed it again
                del unwritten[key]
        if not unwritten:
            self._by_series.pop(place, None)


class _Count(NamedTuple):
    """Number of the keys of an extension, as counted at a time by ``time.monotonic()``."""

    number: int
    at: float


class StoredState:
    """Reads the committed values of an extension, and knows if it may have more keys.

    Args:
        database: holds the values.
        extension: the name of the extension.
        most: maximum number of keys. Workers that set new keys at the same moment may exceed it a little.
    """

    def __init__(self, database: Database, extension: str, most: int = MAX_KEYS) -> None:
        self._database = database
        self._extension = bounded(extension)
        self._most = most
        self._count: _Count | None = None
        self._counting: Future[None] | None = None
        self._set_since = 0

    def find(self, key: str) -> bytes | None:
        """Return the value of a key in JSON; None without one."""
        with self._database.read() as connection:
            return find_value(connection, self._extension, key, datetime.now(UTC))

    def keys(self, prefix: str, limit: int) -> list[str]:
        """Return the first keys with a prefix, sorted."""
        with self._database.read() as connection:
            return find_keys(connection, self._extension, prefix, limit, datetime.now(UTC))

    def sums(self, prefix: str, limit: int) -> dict[str, float]:
        """Return the first sums with a prefix by key, sorted."""
        with self._database.read() as connection:
            return find_sums(connection, self._extension, prefix, limit, datetime.now(UTC))

    def has_room_for(self, key: str) -> bool:
        """Return False if the extension has as many keys as it may have, and this one is new.

        Rows are counted every ten seconds; in between every key counts as new. An event loop is not held up: they are
        counted in a thread meanwhile, and where there is no room, every key counts as new.
        """
        has_room = self._has_room()
        if is_in_loop():
            if self._is_count_old(has_room) and (self._counting is None or self._counting.done()):
                self._counting = FUNCTION_LOOP.state_threads.submit(self._recount)
        else:
            if self._is_count_old(has_room):
                self._recount()
                has_room = self._has_room()
            if not has_room:
                with self._database.read() as connection:
                    return has_row(connection, self._extension, key)
        self._set_since += 1
        return has_room

    def _has_room(self) -> bool:
        return self._count is None or self._count.number + self._set_since < self._most

    def _is_count_old(self, has_room: bool) -> bool:
        kept = _COUNTED_FOR if has_room else _RECOUNT
        return self._count is None or time.monotonic() - self._count.at >= kept

    def _recount(self) -> None:
        with self._database.read() as connection:
            self._count = _Count(number_of_keys(connection, self._extension), time.monotonic())
        self._set_since = 0


class SeriesState:
    """Reads the values that a delivery finds: the committed ones, with the changes of those before it in its series."""

    def __init__(self, stored: StateReader, unwritten: UnwrittenState, due: Due) -> None:
        self._stored = stored
        self._unwritten = unwritten
        self._due = due

    def find(self, key: str) -> bytes | None:
        """Return the value of a key in JSON; None without one."""
        return self._now().find(key)

    def keys(self, prefix: str, limit: int) -> list[str]:
        """Return the first keys with a prefix, sorted."""
        return self._now().keys(prefix, limit)

    def sums(self, prefix: str, limit: int) -> dict[str, float]:
        """Return the first sums with a prefix by key, sorted."""
        return self._stored.sums(prefix, limit)

    def has_room_for(self, key: str) -> bool:
        """Return False if the extension has as many keys as it may have, and this one is new."""
        return self._now().has_room_for(key)

    def _now(self) -> ChangedState:
        # First the unwritten changes, then the database: what is written in between is found in both.
        return ChangedState(self._stored, self._unwritten.find(self._due))


class States:
    """The states of the extensions of a process.

    Args:
        database: holds the values.
        keep_days: days for which a value is kept at most.

    Attributes:
        unwritten: changes that the worker of this process has not written yet.
    """

    def __init__(self, database: Database, keep_days: float) -> None:
        self._database = database
        self._keep_days = keep_days
        self._by_extension: dict[str, StoredState] = {}
        self.unwritten = UnwrittenState()

    def reader(self, extension: str) -> StoredState:
        """Return the reader of the committed values of an extension."""
        return self._by_extension.setdefault(extension, StoredState(self._database, extension))

    def make(self, extension: str, due: Due, deadline: float) -> State:
        """Make the state for an attempt that ends at a time by ``time.monotonic()``."""
        keep = timedelta(days=self._keep_days)
        return State(SeriesState(self.reader(extension), self.unwritten, due), keep, deadline)
