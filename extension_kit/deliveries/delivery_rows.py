"""Delivery rows: the deliveries of a group of events, as they begin."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection

from extension_kit.deliveries.shards import shard_of
from extension_kit.deliveries.tables import BEHIND, READY, WAITING, bounded
from extension_kit.store.bulk_insert import BulkInsert
from extension_kit.store.types import DriverTime


class StoredEvent(NamedTuple):
    """An event in the table.

    Attributes:
        ref: its number.
        series: as it is stored; None without one.
        place: its place in the series, from 1; None without a series.
        is_new: True if the transaction has added it.
    """

    ref: int
    series: str | None
    place: int | None
    is_new: bool


def add_deliveries(
    connection: Connection, wanted: Iterable[tuple[StoredEvent, Sequence[str]]], now: DriverTime
) -> Counter[int]:
    """Add deliveries, unless they exist, and return the number of those added by the ref of their event.

    Of the deliveries of new events with one lock only the first is ready; the others are behind it.

    Args:
        connection: of the transaction that has counted the events.
        wanted: events with the keys of their listeners; an event may occur again.
        now: as ``driver_time`` encodes it.
    """
    is_sqlite = connection.dialect.name == "sqlite"
    rows: dict[tuple[int, str], tuple[Any, ...]] = {}
    led: set[str] = set()
    are_new = True
    for (ref, series, place, is_new), names in wanted:
        are_new &= is_new
        for name in names:
            listener = bounded(name)
            if (ref, listener) in rows:
                continue
            lock, stage = None, READY
            if series is not None:
                lock = f"{listener}|{series}"
                if is_new:  # those of known events may exist already
                    stage = BEHIND if lock in led else READY
                    led.add(lock)
            shard = shard_of(lock, listener, ref, is_sqlite=is_sqlite)
            rows[ref, listener] = (ref, listener, lock, series, place, shard, stage)
    if not rows:
        return Counter()
    if are_new:
        _ADD.add(connection, [*rows.values()], (now, now))
        return Counter([ref for ref, _ in rows])
    return Counter([ref for (ref,) in _ADD_MISSING.add(connection, [*rows.values()], (now, now))])


def _insert(then: str) -> BulkInsert:
    return BulkInsert(
        "deliveries",
        {
            "event_ref": "bigint",
            "listener": "text",
            "lock": "text",
            "series": "text",
            "count": "bigint",
            "shard": "integer",
            "stage": "text",
        },
        then,
        same={"status": f"'{WAITING}'", "attempts": "0", "earlier": "0", "losses": "0"},
        shared={"created_at": "timestamptz", "due_at": "timestamptz"},
    )


_ADD = _insert("")
_ADD_MISSING = _insert("ON CONFLICT (event_ref, listener) DO NOTHING RETURNING event_ref")
