"""Series: the place of an event among those of the same tenant, source, subject and series id.

The count of a series is a row that lives from its first event to its end, so that the next series of the same id begins
at 1 again (Tapis Notifications, live docs: publishEvent).
"""

from datetime import datetime
from hashlib import blake2b
from types import ModuleType
from typing import cast

import orjson
from sqlalchemy import Connection, Executable, delete
from sqlalchemy.dialects import postgresql, sqlite

from .tables import series

NOT_COUNTED = -1
"""The count of an event without a series."""


def series_key(tenant: str, source: str, subject: str | None, series_id: str | None) -> str | None:
    """Return the key of a series; None for an event without a subject or a series id, which is in no series."""
    if not (subject and subject.strip() and series_id and series_id.strip()):
        return None
    return blake2b(orjson.dumps([tenant, source, subject, series_id]), digest_size=32).hexdigest()


def take_count(connection: Connection, key: str, now: datetime) -> int:
    """Return the next place in a series, from 1, and keep the series locked until the commit."""
    counted = _TAKE_COUNT[connection.dialect.name]
    count: int = connection.execute(counted, {"key": key, "seq_count": 1, "updated": now}).scalar_one()
    return count


def _take_count(dialect: ModuleType) -> Executable:
    added = dialect.insert(series)
    counted = added.on_conflict_do_update(
        index_elements=[series.c.key],
        set_={"seq_count": series.c.seq_count + 1, "updated": added.excluded.updated},
    )
    return cast(Executable, counted.returning(series.c.seq_count))


# Made once: it is executed for every event.
_TAKE_COUNT = {"sqlite": _take_count(sqlite), "postgresql": _take_count(postgresql)}


def end_series(connection: Connection, key: str) -> int:
    """End a series, and return the number of series ended: 1, or 0 if there is no such series."""
    return connection.execute(delete(series).where(series.c.key == key)).rowcount
