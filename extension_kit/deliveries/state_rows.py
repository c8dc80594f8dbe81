"""State rows: the statements that read, write and remove the values and sums of extensions."""

from collections.abc import Iterable
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import Connection, Integer, Table, bindparam, func, literal, select, union_all

from extension_kit.deliveries.tables import state, sums
from extension_kit.events.state_values import MAX_KEY, Addition, Change
from extension_kit.store.batches import repeat
from extension_kit.store.bulk_insert import BulkInsert
from extension_kit.store.bulk_statement import BulkStatement
from extension_kit.store.database import Database
from extension_kit.store.prepared import PreparedStatement
from extension_kit.store.types import driver_time

_LAST = "\U0010ffff" * MAX_KEY  # after a prefix: sorted after every key with it

_is_of = state.c.extension == bindparam("extension")
_is_kept = state.c.expires_at > bindparam("now", type_=state.c.expires_at.type)
_KEY = PreparedStatement(select(state.c.value).where(_is_of, state.c.key == bindparam("key"), _is_kept))
_KEYS = PreparedStatement(
    select(state.c.key)
    .where(_is_of, state.c.key >= bindparam("first"), state.c.key <= bindparam("last"), _is_kept)
    .order_by(state.c.key)
    .limit(bindparam("number", type_=Integer))
)
_is_sum_of = sums.c.extension == bindparam("extension")
_SUMS = PreparedStatement(
    select(sums.c.key, sums.c.number)
    .where(
        _is_sum_of,
        sums.c.key >= bindparam("first"),
        sums.c.key <= bindparam("last"),
        sums.c.expires_at > bindparam("now", type_=sums.c.expires_at.type),
    )
    .order_by(sums.c.key)
    .limit(bindparam("number", type_=Integer))
)
_HAS_ROW = PreparedStatement(
    union_all(
        select(literal(1)).where(_is_of, state.c.key == bindparam("key")),
        select(literal(1)).where(_is_sum_of, sums.c.key == bindparam("key")),
    )
)
_NUMBER = PreparedStatement(
    select(
        select(func.count()).select_from(state).where(_is_of).scalar_subquery()
        + select(func.count()).select_from(sums).where(_is_sum_of).scalar_subquery()
    )
)
_WRITE = BulkInsert(
    "state",
    {"extension": "text", "key": "text", "value": "bytea", "updated_at": "timestamptz", "expires_at": "timestamptz"},
    "ON CONFLICT (extension, key) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at, "
    "expires_at = excluded.expires_at",
)
_ADD = BulkInsert(
    "sums",
    {"extension": "text", "key": "text", "number": "float8", "updated_at": "timestamptz", "expires_at": "timestamptz"},
    "ON CONFLICT (extension, key) DO UPDATE SET number = excluded.number"
    " + CASE WHEN sums.expires_at > excluded.updated_at THEN sums.number ELSE 0 END, "
    "updated_at = excluded.updated_at, expires_at = excluded.expires_at",
)
_REMOVE, _REMOVE_SUMS = (
    BulkStatement(
        f"DELETE FROM {table} WHERE (extension, key) IN (SELECT extension, key FROM {{given}}) RETURNING key",  # noqa: S608
        {"extension": "text", "key": "text"},
    )
    for table in ("state", "sums")
)


def find_value(connection: Connection, extension: str, key: str, now: datetime) -> bytes | None:
    """Return the value of a key in JSON; None without one."""
    row = _KEY.first(connection, extension=extension, key=key, now=now)
    return None if row is None else row[0]


def find_keys(connection: Connection, extension: str, prefix: str, limit: int, now: datetime) -> list[str]:
    """Return the first keys with a prefix, sorted."""
    between = {"first": prefix, "last": prefix + _LAST}
    return [key for (key,) in _KEYS.all(connection, extension=extension, **between, number=limit, now=now)]


def find_sums(connection: Connection, extension: str, prefix: str, limit: int, now: datetime) -> dict[str, float]:
    """Return the first sums with a prefix by key, sorted."""
    between = {"first": prefix, "last": prefix + _LAST}
    return dict(_SUMS.all(connection, extension=extension, **between, number=limit, now=now))


def has_row(connection: Connection, extension: str, key: str) -> bool:
    """Return True if a key has a row, even one that retention has not removed yet."""
    return _HAS_ROW.first(connection, extension=extension, key=key) is not None


def number_of_keys(connection: Connection, extension: str) -> int:
    """Return the number of rows of an extension."""
    row = _NUMBER.first(connection, extension=extension)
    return 0 if row is None else row[0]


def write_changes(connection: Connection, changes: Iterable[tuple[str, str, Change]], now: datetime) -> None:
    """Write changes, at least one: extension, key and change; the last one of a key counts.

    On PostgreSQL, the commit then waits for the disk: deliveries that have seen a change must not outlive it in a crash
    of the server.
    """
    is_sqlite = connection.dialect.name == "sqlite"
    latest = {(extension, key): change for extension, key, change in changes}
    # In one order, and removed keys among them: transactions of several workers wait for each other, but in no circle.
    rows: list[tuple[Any, ...]] = [
        (
            extension,
            key,
            change.value or b"",
            driver_time(now, is_sqlite=is_sqlite),
            driver_time(change.expires_at, is_sqlite=is_sqlite),
        )
        for (extension, key), change in sorted(latest.items(), key=lambda item: item[0])
    ]
    if not is_sqlite:
        connection.exec_driver_sql("SET LOCAL synchronous_commit TO on")
    _WRITE.add(connection, rows)
    if removed := [place for place, change in latest.items() if change.value is None]:
        _REMOVE.execute(connection, removed)


def write_additions(connection: Connection, additions: Iterable[tuple[str, str, Addition]], now: datetime) -> None:
    """Add to sums: extension, key and addition, at least one. The commit waits for the disk, as for changes."""
    is_sqlite = connection.dialect.name == "sqlite"
    totals: dict[tuple[str, str], Addition] = {}
    for extension, key, addition in additions:
        before = totals.get((extension, key))
        totals[extension, key] = addition._replace(number=addition.number + (before.number if before else 0.0))
    rows: list[tuple[Any, ...]] = [
        (
            *place,
            total.number,
            driver_time(now, is_sqlite=is_sqlite),
            driver_time(total.expires_at, is_sqlite=is_sqlite),
        )
        for place, total in sorted(totals.items())  # in one order, as changes are
    ]
    if not is_sqlite:
        connection.exec_driver_sql("SET LOCAL synchronous_commit TO on")
    _ADD.add(connection, rows)


def remove_expired(database: Database, now: datetime, size: int = 100) -> int:
    """Delete values and sums whose time is over, in small transactions between which others can write.

    Values that a worker is writing are passed over, so that the two never wait for each other.

    Args:
        database: holds the values.
        now: the time.
        size: maximum number of rows of a transaction.

    Returns:
        The number of deleted rows.

    Raises:
        StoreError: the database cannot be used; rows deleted before stay deleted.
    """

    def remove_batch(table: Table, statement: BulkStatement) -> int:
        expired = select(table.c.extension, table.c.key).where(table.c.expires_at <= now).order_by(table.c.expires_at)
        with database.transaction() as connection:
            found = [tuple(row) for row in connection.execute(expired.limit(size).with_for_update(skip_locked=True))]
            return len(statement.execute(connection, found)) if found else 0

    return repeat(partial(remove_batch, state, _REMOVE)) + repeat(partial(remove_batch, sums, _REMOVE_SUMS))
