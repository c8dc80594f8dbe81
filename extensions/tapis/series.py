"""Series: the place of an event among those of the same tenant, source, subject and series id.

The count of a series is a row that lives from its first event to its end, so that the next series of the same id begins
at 1 again (Tapis Notifications, live docs: publishEvent).
"""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from hashlib import blake2b
from typing import NamedTuple

import orjson
from sqlalchemy import Connection, delete

from extension_kit.protocol import BulkInsert, IsAnyOf, PreparedStatement, bounded, driver_time

from .tables import series

NOT_COUNTED = -1
"""The count of an event without a series."""


class Names(NamedTuple):
    """The names that identify a series."""

    tenant: str
    source: str
    subject: str | None
    series_id: str | None

    @property
    def key(self) -> str | None:
        """The key of the series; None without a subject or a series id: an event with such names is in no series."""
        if not (self.subject and self.subject.strip() and self.series_id and self.series_id.strip()):
            return None
        return blake2b(orjson.dumps(list(self)), digest_size=32).hexdigest()

    @property
    def shown(self) -> list[str]:
        """The names, shortened."""
        return [bounded(name or "") for name in self]


class Member(NamedTuple):
    """An event of a series: the key of the series, None without one; its names; and if it ends with the event."""

    key: str | None
    names: Names
    ends: bool


def series_key(tenant: str, source: str, subject: str | None, series_id: str | None) -> str | None:
    """Return the key of a series; None for an event without a subject or a series id, which is in no series."""
    return Names(tenant, source, subject, series_id).key


def take_counts(connection: Connection, members: Sequence[Member], now: datetime) -> list[int]:
    """Return the place of each event in its series, from 1, and keep all these series locked until the commit.

    They are locked in one order, so that two transactions cannot deadlock.

    Args:
        connection: of a transaction.
        members: the events, in the order of their arrival.
        now: aware.

    Returns:
        The place of each event; ``NOT_COUNTED`` for an event without a series.
    """
    numbers = Counter(member.key for member in members if member.key is not None)
    if not numbers:
        return [NOT_COUNTED] * len(members)
    moment = driver_time(now, is_sqlite=connection.dialect.name == "sqlite")
    names = {member.key: member.names for member in members}
    counted = _COUNT.add(
        connection, [(key, numbers[key], moment, moment, *names[key].shown) for key in sorted(numbers)]
    )
    last = {key: count - numbers[key] for key, count in counted}
    ended: set[str] = set()
    places = []
    for key, _, ends in members:
        if key is None:
            places.append(NOT_COUNTED)
            continue
        last[key] += 1
        places.append(last[key])
        if ends:
            last[key] = 0
            ended.add(key)
    if over := [key for key in ended if last[key] == 0]:
        _END.rowcount(connection, keys=over)
    if begun_again := [key for key in ended if last[key] > 0]:
        _SET.add(connection, [(key, last[key], moment) for key in begun_again])
    return places


def end_series(connection: Connection, key: str) -> int:
    """End a series, and return the number of series ended: 1, or 0 if there is no such series."""
    return connection.execute(delete(series).where(series.c.key == key)).rowcount


_COLUMNS = {"key": "text", "seq_count": "bigint", "updated": "timestamptz"}

_COUNT = BulkInsert(
    series.name,
    _COLUMNS | {"began_at": "timestamptz", "tenant": "text", "source": "text", "subject": "text", "series_id": "text"},
    f"ON CONFLICT (key) DO UPDATE SET seq_count = {series.name}.seq_count + excluded.seq_count,"
    " updated = excluded.updated RETURNING key, seq_count",
)

_SET = BulkInsert(
    series.name,
    _COLUMNS,
    "ON CONFLICT (key) DO UPDATE SET seq_count = excluded.seq_count, updated = excluded.updated",
)

_END = PreparedStatement(delete(series).where(IsAnyOf(series.c.key, "keys")))
