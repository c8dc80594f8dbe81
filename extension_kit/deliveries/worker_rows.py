"""Worker rows: signs of life of the processes that make deliveries, shown to people."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Connection, delete, select

from extension_kit.deliveries.tables import bounded, workers
from extension_kit.store.upsert import upsert

EVERY = 5.0
"""Seconds between two signs of life."""

_SILENT = timedelta(seconds=4 * EVERY)

KEEP = timedelta(days=1)
"""Age from which the row of a worker that ended without removing it is deleted."""

MOST_CIRCUITS = 100
"""Maximum number of open circuits in a row."""

_MOST_WORKERS = 1000


class OpenCircuit(NamedTuple):
    """Circuit breaker that is open: the listener key or the host of the receiver, and the time of its next probe."""

    receiver: str
    until: datetime


class WorkerRow(NamedTuple):
    """Row of a worker.

    Attributes:
        key: of the process, chosen at its start.
        host: name of its machine.
        pid: its process id there.
        started_at: the time of its start.
        seen_at: the time of its last sign of life.
        threads: the maximum number of attempts at the same time, without the extra ones of ``Shares``.
        busy: the number of threads in use.
        open_circuits: circuits that are open, those that stay so longest; at most 100.
    """

    key: str
    host: str
    pid: int
    started_at: datetime
    seen_at: datetime
    threads: int
    busy: int
    open_circuits: Sequence[OpenCircuit] = ()

    def is_silent(self, now: datetime) -> bool:
        """Return True if several signs of life are missing: the worker has ended, or does not reach the database."""
        return now - self.seen_at > _SILENT


def report(connection: Connection, worker: WorkerRow) -> None:
    """Write the row of a worker, in a transaction that writes."""
    circuits = [
        {"receiver": bounded(each.receiver), "until": each.until.isoformat()}
        for each in worker.open_circuits[:MOST_CIRCUITS]
    ]
    values = {**worker._asdict(), "host": bounded(worker.host), "open_circuits": circuits}
    upsert(connection, workers, values, update=("seen_at", "busy", "open_circuits"))


def remove(connection: Connection, key: str) -> None:
    """Remove the row of a worker that ends."""
    connection.execute(delete(workers).where(workers.c.key == key))


def known_workers(connection: Connection) -> list[WorkerRow]:
    """Return the workers, of 1,000 at most those with the latest signs of life, in the order of their starts."""
    latest = select(workers).order_by(workers.c.seen_at.desc()).limit(_MOST_WORKERS)
    found = [
        WorkerRow(
            **{
                **row,
                "open_circuits": [
                    OpenCircuit(each["receiver"], datetime.fromisoformat(each["until"]))
                    for each in row["open_circuits"]
                ],
            }
        )
        for row in connection.execute(latest).mappings()
    ]
    return sorted(found, key=lambda worker: (worker.started_at, worker.key))
