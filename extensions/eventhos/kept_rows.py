"""Kept rows: keys, events and their contracts, kept in memory for accepting until one of them is changed.

Triggers write another version (table ``changes``) at the commit of each change. A transaction that reads the version
first, and finds it as it was, may take the rows that were read after it: it sees the changes that it would see in the
tables. Whatever is read later under a version is as new as the version or newer, never older.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, select

from extension_kit.protocol import IsAnyOf, PreparedStatement

from .keys import ValidKey, key_hash, unrevoked_keys
from .runs import Contract
from .sending import active_contracts
from .tables import changes, clients, events, systems

_MOST = 10_000  # keys, events and contracts


class SentEvent(NamedTuple):
    """An event of a system, with the client of the system; None without one.

    ``contracts`` are the active ones, those that run first at first.
    """

    id: int
    identifier: str
    client: int | None
    client_id: str | None
    revoked: bool | None
    client_deleted: bool | None
    contracts: Sequence[Contract] = ()


class _Version:
    """Rows that were read after a version."""

    def __init__(self, version: str | None) -> None:
        self.version = version
        self.keys: dict[str, ValidKey] = {}
        self.events: dict[str, SentEvent] = {}
        self.size = 0


class KeptRows:
    """Reads keys and events, those that are kept without asking for them again.

    Threads may share it: they only ever take rows away from each other.

    Args:
        limit: of keys, events and contracts; beyond it, all are read again.
    """

    def __init__(self, limit: int = _MOST) -> None:
        self._limit = limit
        self._kept = _Version(None)

    def read(
        self, connection: Connection, keys: Iterable[str], identifiers: Iterable[str]
    ) -> tuple[Mapping[str, ValidKey], Mapping[str, SentEvent]]:
        """Return the keys that were not revoked, and the events.

        Args:
            connection: of a transaction.
            keys: as they were sent.
            identifiers: of events.

        Returns:
            The keys by their text, and the events by their identifier, without those that there are not.
        """
        kept = self._current(connection)
        hashes = {text: key_hash(text) for text in keys}
        wanted = set(identifiers)
        found_keys = {hash: kept.keys[hash] for hash in hashes.values() if hash in kept.keys}
        found_events = {name: kept.events[name] for name in wanted if name in kept.events}
        if unknown_keys := set(hashes.values()).difference(found_keys):
            read_keys = unrevoked_keys(connection, unknown_keys)
            found_keys |= read_keys
            kept.keys |= read_keys
            kept.size += len(read_keys)
        if unknown_events := wanted.difference(found_events):
            read_events = _read_events(connection, unknown_events)
            found_events |= read_events
            kept.events |= read_events
            kept.size += sum(1 + len(event.contracts) for event in read_events.values())
        return {text: found_keys[hash] for text, hash in hashes.items() if hash in found_keys}, found_events

    def _current(self, connection: Connection) -> _Version:
        row = _CHANGED.first(connection)
        version = None if row is None else row[0]
        kept = self._kept
        if version is None or version != kept.version or kept.size > self._limit:
            self._kept = kept = _Version(version)
        return kept


def _read_events(connection: Connection, identifiers: Collection[str]) -> dict[str, SentEvent]:
    found = [SentEvent(*row) for row in _EVENTS.all(connection, identifiers=list(identifiers))]
    contracts = active_contracts(connection, [event.id for event in found])
    return {event.identifier: event._replace(contracts=contracts[event.id]) for event in found}


_CHANGED = PreparedStatement(select(changes.c.version))

_EVENTS = PreparedStatement(
    select(
        events.c.id,
        events.c.identifier,
        systems.c.client,
        clients.c.client_id,
        clients.c.revoked,
        clients.c.deleted.label("client_deleted"),
    )
    .join(systems, systems.c.id == events.c.system)
    .outerjoin(clients, clients.c.id == systems.c.client)
    .where(IsAnyOf(events.c.identifier, "identifiers"), ~events.c.deleted)
)
