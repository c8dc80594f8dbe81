"""Series counts: the number of events of each series, from which new events get their places."""

from collections.abc import Mapping

import orjson
from sqlalchemy import Connection

from extension_kit.store.bulk_insert import BulkInsert
from extension_kit.store.types import DriverTime


def count_up(connection: Connection, numbers: Mapping[str, int], now: DriverTime) -> dict[str, int]:
    """Count new events, and return the place of the last one of each series; the rows stay locked until the commit.

    Args:
        connection: of a transaction.
        numbers: the number of new events by series, at least one series.
        now: as ``driver_time`` encodes it.
    """
    names = sorted(numbers)  # locked in one order, so that two transactions cannot deadlock
    rows = [(name, numbers[name]) for name in names]
    if connection.dialect.name != "sqlite":
        return dict(_COUNT_AND_TELL.add(connection, rows, (now,)))
    _COUNT.add(connection, rows, (now,))
    # One row for all series: fetching a row releases Python's lock.
    driver = connection.connection.driver_connection
    (last,) = driver.execute(_LAST, (orjson.dumps(names).decode(),)).fetchone()  # type: ignore[union-attr]
    return dict(zip(names, orjson.loads(last), strict=True))


_COLUMNS = {"key": "text", "last_count": "bigint"}
_SHARED = {"last_at": "timestamptz"}
_OR_ADD = (
    "ON CONFLICT (key) DO UPDATE SET last_count = series.last_count + excluded.last_count, last_at = excluded.last_at"
)
_COUNT = BulkInsert("series", _COLUMNS, _OR_ADD, shared=_SHARED)
_COUNT_AND_TELL = BulkInsert("series", _COLUMNS, f"{_OR_ADD} RETURNING key, last_count", shared=_SHARED)
_LAST = """
SELECT json_group_array(last_count) FROM (
    SELECT series.last_count FROM json_each(?) AS given CROSS JOIN series WHERE series.key = given.value
    ORDER BY given.key
)
"""
