"""Event rows: a group of events, each stored once, with its place in its series."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import compress, count, repeat
from typing import Any

from sqlalchemy import Connection

from extension_kit.deliveries.delivery_rows import StoredEvent
from extension_kit.deliveries.entries import Entry
from extension_kit.deliveries.series_counts import count_up
from extension_kit.deliveries.step_memory import remember_step
from extension_kit.deliveries.tables import all_bounded
from extension_kit.store.bulk_insert import NumberedInsert
from extension_kit.store.bulk_statement import BulkStatement
from extension_kit.store.types import DriverTime, driver_time

Key = tuple[str, str]
"""Identity of an event: its source and its id, as they are stored."""


def keys_of(entries: Sequence[Entry]) -> list[Key]:
    """Return the identity of each event."""
    sources, ids = [entry.source for entry in entries], [entry.event_id for entry in entries]
    return list(zip(all_bounded(sources), all_bounded(ids), strict=True))


def store_events(connection: Connection, entries: Mapping[Key, Entry], now: datetime) -> list[StoredEvent]:
    """Store new events, numbered and counted in their series in the order given, and find the known ones.

    Rows are locked until the commit: known events against new deliveries and deletion, then series.

    Args:
        connection: of a transaction.
        entries: the events, at least one.
        now: the time of receiving, aware.
    """
    is_sqlite = connection.dialect.name == "sqlite"
    moment = driver_time(now, is_sqlite=is_sqlite)
    _, _, names, subjects, times, bodies, series, *_, traces = zip(*entries.values(), strict=True)
    happened = [time and driver_time(time, is_sqlite=is_sqlite) for time in times]
    sources, ids = zip(*entries, strict=True)
    columns: list[Sequence[Any]] = [sources, ids, all_bounded(names), _texts(subjects), happened, bodies]
    has_traces = any(traces)
    if has_traces:
        columns.append(traces)
    rows = list(zip(*columns, strict=True))
    refs = (_ADD_WITH_TRACES if has_traces else _ADD).add_numbered(connection, rows, (moment,))
    lines = _texts(series)
    if len(refs) == len(entries):
        _remember_steps(connection, entries.values(), now)
        return list(map(StoredEvent, refs, lines, _count(connection, lines, moment), repeat(True)))
    found = _find(connection, entries)
    added = set(refs)
    are_new = [found[key][0] in added for key in entries]
    _remember_steps(connection, compress(entries.values(), are_new), now)
    places = _count(connection, [line if is_new else None for line, is_new in zip(lines, are_new, strict=True)], moment)
    return [
        StoredEvent(found[key][0], line, place if is_new else found[key][1], is_new)
        for key, line, place, is_new in zip(entries, lines, places, are_new, strict=True)
    ]


def _texts(texts: Iterable[str | None]) -> Sequence[str | None]:
    """Return texts as they are stored: an empty one is none."""
    return all_bounded([text or None for text in texts])


def _remember_steps(connection: Connection, entries: Iterable[Entry], now: datetime) -> None:
    for entry in entries:
        if entry.step and entry.series:
            remember_step(connection, entry.series, entry.step, entry.body, now)


def _find(connection: Connection, keys: Collection[Key]) -> dict[Key, tuple[int, int | None]]:
    """Find events with their places, and lock them against new deliveries and deletion until the commit."""
    found = (_FIND if connection.dialect.name == "sqlite" else _FIND_AND_LOCK).execute(connection, list(keys))
    return {(source, event_id): (ref, place) for source, event_id, ref, place in found}


def _count(connection: Connection, lines: Sequence[str | None], now: DriverTime) -> list[int | None]:
    """Return the place of each event in its series; None without one."""
    numbers = Counter(line for line in lines if line is not None)
    if not numbers:
        return [None] * len(lines)
    last = count_up(connection, numbers, now)
    following = {line: count(last[line] - number + 1) for line, number in numbers.items()}
    return [None if line is None else next(following[line]) for line in lines]


def _insert(columns: Mapping[str, str]) -> NumberedInsert:
    return NumberedInsert(
        "events",
        columns,
        "ON CONFLICT (source, event_id) DO NOTHING",
        order=("source", "event_id"),
        shared={"received_at": "timestamptz"},
    )


_COLUMNS = {
    "source": "text",
    "event_id": "text",
    "name": "text",
    "subject": "text",
    "time": "timestamptz",
    "body": "bytea",
}
_ADD = _insert(_COLUMNS)
_ADD_WITH_TRACES = _insert(_COLUMNS | {"trace_context": "text"})

_KNOWN = """
SELECT events.source, events.event_id, events.ref,
    (SELECT max(deliveries.count) FROM deliveries WHERE deliveries.event_ref = events.ref)
FROM {given} CROSS JOIN events WHERE events.source = given.source AND events.event_id = given.event_id
ORDER BY events.ref
"""
_KEY = {"source": "text", "event_id": "text"}
_FIND = BulkStatement(_KNOWN, _KEY)
_FIND_AND_LOCK = BulkStatement(f"{_KNOWN} FOR KEY SHARE OF events", _KEY)
