"""Rows of accepted events: their entries in the log and their executions, inserted for many events at once."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection

from extension_kit.protocol import BulkInsert, driver_time

from .tables import executions, received


class NewRow(NamedTuple):
    """A row of the log.

    Attributes:
        event: number of the event.
        request: encrypted.
        idempotency_key: hash of the key with the event; None without one.
        cause: number of the execution that the event replies to.
        depth: the number of replies before it.
        root: number of the event that its chain of replies began with; None if it is no reply.
        retry_of: number of the execution that the event retries; None if it is no retry.
    """

    event: int
    request: bytes
    idempotency_key: str | None
    cause: int | None
    depth: int
    root: int | None
    retry_of: int | None


class NewExecution(NamedTuple):
    """An execution: ``run`` is the number of the kit's event that begins it, None if it does not begin yet."""

    id: int
    received: int
    contract: int
    order: int
    run: int | None


def add_received(
    connection: Connection, numbers: Sequence[int], rows: Sequence[NewRow], now: datetime
) -> list[int | None]:
    """Insert rows of the log.

    Args:
        connection: of a transaction.
        numbers: those of the rows.
        rows: the rows.
        now: aware.

    Returns:
        The number of each; None if its idempotency key was used before.
    """
    moment = _moment(connection, now)
    # In one order, so that two transactions with the same keys cannot deadlock.
    ordered = sorted(zip(numbers, rows, strict=True), key=lambda pair: pair[1].idempotency_key or "")
    added = _RECEIVED.add(connection, [(number, *row, moment) for number, row in ordered])
    there = {number for (number,) in added}
    return [number if number in there else None for number in numbers]


def add_executions(connection: Connection, rows: Sequence[NewExecution], now: datetime) -> None:
    """Insert executions."""
    moment = _moment(connection, now)
    _EXECUTIONS.add(
        connection,
        [(*row, None if row.run is None else moment) for row in rows],
    )


def _moment(connection: Connection, now: datetime) -> str | datetime | None:
    return driver_time(now, is_sqlite=connection.dialect.name == "sqlite")


_RECEIVED = BulkInsert(
    received.name,
    {
        "id": "bigint",
        "event": "bigint",
        "request": "bytea",
        "idempotency_key": "text",
        "cause": "bigint",
        "depth": "bigint",
        "root": "bigint",
        "retry_of": "bigint",
        "received_at": "timestamptz",
    },
    "ON CONFLICT (idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING RETURNING id",
)

_EXECUTIONS = BulkInsert(
    executions.name,
    {
        "id": "bigint",
        "received": "bigint",
        "contract": "bigint",
        "order": "bigint",
        "run": "bigint",
        "started_at": "timestamptz",
    },
    "",
    same={"attempts": "0", "retried": "false", "aborted": "false"},
)
